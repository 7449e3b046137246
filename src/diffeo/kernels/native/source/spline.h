// The rational-quadratic spline: diffeo/laws/rational_quadratic.py says the same in torch, and why.
#pragma once
#include "layer.h"

namespace diffeo {

constexpr long MOST_BINS = 64;

struct RationalQuadratic {
    float bound, min_bin, steepest;  // steepest = −log(min_slope)
    long bins;
    bool matching;

    RationalQuadratic(const float *numbers, const int32_t *counts)
        : bound(numbers[0]), min_bin(numbers[1]), steepest(numbers[2]), bins(counts[0]), matching(counts[1]) {}

    long params() const { return 3 * bins + (matching ? 1 : -1); }

    // The bin that a value falls in, and all that is needed to go back from it to θ.
    struct Piece {
        Vec left{}, bottom{}, width{}, height{}, first{}, last{};
        Vec raw_first{}, raw_last{};  // of the slopes, before tanh and exp
        Int k{};
        Vec widths[MOST_BINS], heights[MOST_BINS];  // exp(θ − max), not yet divided
        Vec over_widths, over_heights;              // 1 / their sums
    };

    static void exponentials(const Vec *raw, long bins, Vec *out, Vec &over) {
        Vec top = raw[0];
        for (long i = 1; i < bins; i++) top = max(top, raw[i]);
        Vec sum = Vec{};
        for (long i = 0; i < bins; i++) {
            out[i] = exp(raw[i] - top);
            sum += out[i];
        }
        over = 1.0f / sum;
    }

    Vec slope(Vec raw) const { return exp(steepest * tanh(raw / steepest)); }

    // raw slope at knot i; with linear tails the outermost are 1, which is raw 0.
    Vec raw_slope(const Vec *theta, long i) const {
        const Vec *slopes = theta + 2 * bins;
        if (matching) return slopes[i];
        return i == 0 || i == bins ? Vec{} : slopes[i - 1];
    }

    // A sum that keeps what it rounds away for the next term (Kahan, 1965).
    static void add(Vec &sum, Vec &lost, Vec term) {
        Vec next = term - lost, total = sum + next;
        lost = (total - sum) - next;
        sum = total;
    }

    void find(Vec value, const Vec *theta, bool by_height, Piece &at) const {
        exponentials(theta, bins, at.widths, at.over_widths);
        exponentials(theta + bins, bins, at.heights, at.over_heights);
        float rest = 1.0f - min_bin * bins;
        Vec x = all(-bound), y = all(-bound), sum_x = Vec{}, sum_y = Vec{}, lost_x = Vec{}, lost_y = Vec{};
        for (long i = 0; i < bins; i++) {
            add(sum_x, lost_x, min_bin + rest * (at.widths[i] * at.over_widths));
            add(sum_y, lost_y, min_bin + rest * (at.heights[i] * at.over_heights));
            Vec right = i + 1 == bins ? all(bound) : (2.0f * sum_x - 1.0f) * bound;
            Vec top = i + 1 == bins ? all(bound) : (2.0f * sum_y - 1.0f) * bound;
            // The last bin whose left edge is at or below the value; the first if there is none.
            Int here = i == 0 ? whole(-1) : (Int)((by_height ? y : x) <= value);
            at.left = here ? x : at.left;
            at.bottom = here ? y : at.bottom;
            at.width = here ? right - x : at.width;
            at.height = here ? top - y : at.height;
            at.raw_first = here ? raw_slope(theta, i) : at.raw_first;
            at.raw_last = here ? raw_slope(theta, i + 1) : at.raw_last;
            at.k = here ? whole((int32_t)i) : at.k;
            x = right;
            y = top;
        }
        at.first = slope(at.raw_first);
        at.last = slope(at.raw_last);
    }

    // The piece at ξ: its value, its slope, and the parts of both.
    struct Point {
        Vec xi, rest, product, mean, bend, below, above;
        Int gentle;
    };

    static Point point(const Piece &at, Vec xi) {
        Point p;
        p.xi = xi;
        p.rest = 1.0f - xi;
        p.product = xi * p.rest;
        Vec s = p.mean = at.height / at.width;
        p.bend = (at.first - s) + (at.last - s);
        Vec low = min(min(at.first, at.last), s), high = max(max(at.first, at.last), s);
        p.gentle = (low > 0.5f) & (high < 2.0f);
        Vec apart = s * (1.0f - 2.0f * p.product) + (at.first + at.last) * p.product;
        p.below = p.gentle ? s + p.bend * p.product : apart;
        Vec around = s + (at.last - s) * (xi * xi) + (at.first - s) * (p.rest * p.rest);
        apart = at.last * (xi * xi) + 2.0f * s * p.product + at.first * (p.rest * p.rest);
        p.above = p.gentle ? around : apart;
        return p;
    }

    static Vec rise(const Piece &at, const Point &p) {
        return at.height * p.xi * (p.mean * p.xi + at.first * p.rest) / p.below;
    }

    static Vec excess(const Piece &at, const Point &p) {
        Vec curve = ((at.first - p.mean) - p.bend * p.xi) / p.below;
        Vec straight = (at.bottom - at.left) + (at.height - at.width) * p.xi;
        return straight + at.height * p.product * curve;
    }

    static Vec log_slope(const Point &p) {
        Vec ratio = p.mean / p.below;
        return log(ratio * ratio * p.above);
    }

    static Vec root(const Piece &at, Vec up) {
        Vec s = at.height / at.width;
        Vec bend = (at.first - s) + (at.last - s);
        Vec a = up * bend + at.height * (s - at.first);
        Vec b = at.height * at.first - up * bend;
        Vec d = max(b * b + 4.0f * a * s * up, all(1.17549435e-38f));
        Vec xi = clamp(2.0f * s * up / (b + sqrt(d)), 0.0f, 1.0f);
        for (int k = 0; k < 3; k++) {
            Point p = point(at, xi);
            Vec steep = at.height * p.mean * p.above / (p.below * p.below);
            xi = clamp(xi - (rise(at, p) - up) / steep, 0.0f, 1.0f);
        }
        return xi;
    }

    // The piece that a value within the box falls in, and the point on it.
    Point search(Vec near, const Vec *theta, bool inverse, Piece &at) const {
        find(near, theta, inverse, at);
        if (inverse) return point(at, root(at, near - at.bottom));
        return point(at, clamp((near - at.left) / at.width, 0.0f, 1.0f));
    }

    void apply(Vec given, const Vec *theta, bool inverse, Vec &value, Vec &log_out) const {
        Int inside = (given >= -bound) & (given <= bound);
        Vec near = inside ? given : Vec{};
        Piece at;
        Point p = search(near, theta, inverse, at);
        Vec xi = p.xi;
        Vec more = excess(at, p), steep = log_slope(p);
        if (inverse)
            value = p.gentle ? near - more : at.left + at.width * xi;
        else
            value = p.gentle ? near + more : at.bottom + rise(at, p);
        log_out = inverse ? -steep : steep;
        Vec tail = given, log_tail = Vec{};
        if (matching) {
            Vec raw = given > 0.0f ? raw_slope(theta, bins) : raw_slope(theta, 0);
            Vec log_edge = steepest * tanh(raw / steepest), edge = exp(log_edge);
            Vec corner = given > 0.0f ? all(bound) : all(-bound);
            Vec shift = abs(given) <= SAFE ? corner * (1.0f - edge) : Vec{};
            Vec down = exp(-log_edge);
            tail = inverse ? (given - shift) * down : given * edge + shift;
            log_tail = inverse ? -log_edge : log_edge;
        }
        value = inside ? value : tail;
        log_out = inside ? log_out : log_tail;
    }

    // Reverse-mode derivatives. Of the inverse, through those of the map itself at the point found:
    // u = g⁻¹(v) has ∂u/∂v = 1 / g′ and ∂u/∂θ = −(∂g/∂θ) / g′.
    void back(Vec given, const Vec *theta, bool inverse, Vec gv, Vec gl, Vec &ggiven, Vec *gtheta) const {
        Int inside = (given >= -bound) & (given <= bound);
        Vec near = inside ? given : Vec{};
        Piece at;
        Point p = search(near, theta, inverse, at);
        Vec xi = p.xi;
        Vec q = p.product, s = p.mean, over = 1.0f / p.below;
        Vec ratio = s * over;
        Vec steep = ratio * ratio * p.above;
        const Vec seed = gv;  // as it came: beyond the box nothing is turned
        if (inverse) {
            // ∂ log g′/∂u at the point, to turn the seeds of (u, −log g′) into those of (v, log g′).
            Vec turn = (2.0f * (at.last * xi - at.first * p.rest) + 2.0f * s * (p.rest - xi)) / p.above -
                       2.0f * p.bend * (p.rest - xi) * over;
            gl = -gl;
            gv = -(gv + gl * turn / at.width) / steep;
        }
        Vec num = s * (xi * xi) + at.first * q;
        Vec g_num = gv * at.height * over;
        Vec g_below = -(g_num * num + 2.0f * gl) * over;
        Vec g_above = gl / p.above;
        Vec g_bottom = gv, g_height = gv * num * over;
        Vec g_mean = 2.0f * gl / s + g_above * 2.0f * q + g_num * (xi * xi) + g_below * (1.0f - 2.0f * q);
        Vec g_first = g_above * (p.rest * p.rest) + (g_num + g_below) * q;
        Vec g_last = g_above * (xi * xi) + g_below * q;
        Vec g_q = g_above * 2.0f * s + g_num * at.first + g_below * p.bend;
        Vec g_xi = g_above * 2.0f * (at.last * xi - at.first * p.rest) + g_num * 2.0f * s * xi +
                   g_q * (1.0f - 2.0f * xi);
        Vec g_point = g_xi / at.width;
        Vec g_left = -g_point;
        Vec g_width = -g_point * xi - g_mean * s / at.width;
        g_height = g_height + g_mean / at.width;
        // The last corner is fixed: with g = 0 outside of the box nothing goes back from there.
        Vec none = Vec{};
        g_left = inside ? g_left : none;
        g_width = inside ? g_width : none;
        g_bottom = inside ? g_bottom : none;
        g_height = inside ? g_height : none;
        g_first = inside ? g_first : none;
        g_last = inside ? g_last : none;
        // In the inverse direction the given value moves against the map: v = g(u; θ) is what is held.
        ggiven = inverse ? -gv : g_point;

        Vec edge_first = none, edge_last = none;
        if (matching) {
            Int right = given > 0.0f;
            Vec raw = right ? raw_slope(theta, bins) : raw_slope(theta, 0);
            Vec bend = tanh(raw / steepest), log_edge = steepest * bend;
            Vec edge = exp(log_edge), down = exp(-log_edge), corner = right ? all(bound) : all(-bound);
            Int calm = abs(given) <= SAFE;
            Vec moved = (given - corner) * (inverse ? down : edge) * seed;
            moved = calm ? moved : none;
            Vec g_log = (inverse ? gl - moved : gl + moved);
            g_log = inside ? none : g_log * (1.0f - bend * bend);
            edge_first = right ? none : g_log;
            edge_last = right ? g_log : none;
            ggiven = inside ? ggiven : seed * (inverse ? down : edge);
        } else {
            ggiven = inside ? ggiven : seed;
        }

        shares_back(at.widths, at.over_widths, at.k, g_left, g_width, gtheta);
        shares_back(at.heights, at.over_heights, at.k, g_bottom, g_height, gtheta + bins);
        Vec bend_first = tanh(at.raw_first / steepest), bend_last = tanh(at.raw_last / steepest);
        g_first = g_first * at.first * (1.0f - bend_first * bend_first);
        g_last = g_last * at.last * (1.0f - bend_last * bend_last);
        long knots = matching ? bins + 1 : bins - 1, offset = matching ? 0 : 1;
        for (long i = 0; i < knots; i++) {
            int32_t knot = (int32_t)(i + offset);
            gtheta[2 * bins + i] = (at.k == knot ? g_first : none) + (at.k == knot - 1 ? g_last : none);
        }
        if (matching) {
            gtheta[2 * bins] += edge_first;
            gtheta[3 * bins] += edge_last;
        }
    }

    // From the corner and the size of bin k to the raw sizes, through the softmax.
    void shares_back(const Vec *power, Vec over, Int k, Vec g_corner, Vec g_size, Vec *out) const {
        float scale = 2.0f * bound * (1.0f - min_bin * bins);
        Vec mean = Vec{};
        Vec below = Vec{}, here = Vec{};
        for (long i = 0; i < bins; i++) {
            Vec share = power[i] * over;
            below += k > (int32_t)i ? share : Vec{};
            here = k == (int32_t)i ? share : here;
        }
        mean = below * g_corner + here * g_size;
        for (long i = 0; i < bins; i++) {
            Vec g = k > (int32_t)i ? g_corner : (k == (int32_t)i ? g_size : Vec{});
            out[i] = scale * power[i] * over * (g - mean);
        }
    }
};

}  // namespace diffeo
