"""The public conformance suite: cases, hostile inputs, faults on purpose."""
