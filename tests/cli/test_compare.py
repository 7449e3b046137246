"""``diffeo compare`` on its happy path, for people and for machines, and what it refuses."""

QUICK = ("--models", "gaussian,mixture", "--rows", "200")


def test_it_prints_a_table_and_says_what_it_shows(diffeo):
    outcome = diffeo("compare", "moons", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "moons: 140 rows to train on, 60 held out" in outcome.out
    for heading in ("held-out nats a row", "told apart", "coverage", "near training", "In words"):
        assert heading in outcome.out
    assert "Of the exact densities" in outcome.out


def test_json_is_one_object_and_the_picture_is_written(diffeo, tmp_path):
    picture = tmp_path / "picture.png"
    outcome = diffeo("compare", "moons", *QUICK, "--seeds", "2", "--budget", "1", "--json", "-o", picture)
    assert outcome.code == 0, outcome.err
    facts = outcome.json
    assert [(e["model"], e["seed"]) for e in facts["entries"]] == [
        ("Gaussian", 0), ("Gaussian", 1), ("Gaussian mixture", 0), ("Gaussian mixture", 1),
    ]  # fmt: skip
    assert facts["figure"] == str(picture)
    assert facts["warnings"] == []
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "told apart" in outcome.err


def test_a_file_is_compared_on(diffeo, data):
    outcome = diffeo("compare", data, "--models", "gaussian", "--models", "mixture", "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["columns"] == ["width", "height"]
    assert outcome.json["reference"]["model"] == "training rows"


def test_what_cannot_be_done_is_said_before_anything_is_fitted(diffeo, data, tmp_path):
    for arguments, said in (
        (("moon",), "Did you mean 'moons'"),
        (("moons", "--models", "gaussan"), "Did you mean 'gaussian'"),
        (("moons", "-o", tmp_path / "a.txt"), "ends in '.txt'"),
        (("moons", "--budget", "0"), "time_budget=0.0"),
        ((data, "-o", data), "ends in '.csv'"),
    ):
        outcome = diffeo("compare", *arguments)
        assert outcome.code == 2
        assert said in outcome.err, outcome.err
        assert not outcome.out
