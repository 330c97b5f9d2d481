"""The simulation of the verdict rule, and the table that it left."""

from benchmarks import rule as simulation
from workbook import root


def test_the_simulated_rule_seldom_errs():
    """With a fixed seed, fewer runs than its table has."""
    good = {n: simulation.rates(n, 1.0, 3.0, "fails", 1000)["reproduced"] for n in (3, 5, 10)}
    assert good[3] == 0
    assert good[5] >= 0.92
    assert good[10] >= 0.99
    for n in (5, 10):
        for truth in (3.0, 1.0, 0.5):
            assert simulation.rates(n, 1.0, truth, "as good as the claim", 1000)["reproduced"] <= 0.001
        assert simulation.rates(n, 1.0, -1.0, "fails", 1000)["reproduced"] <= 0.001


def test_the_table_of_the_rule_is_that_of_all_cases():
    lines = [line for line in (root() / "reports" / "rule.md").read_text().splitlines() if line.startswith("|")]
    cases = len(simulation.TOLERANCES) * len(simulation.TRUTHS) * len(simulation.CONTROLS)
    assert len(lines) == 2 + cases
    assert f"| {' | '.join(simulation.WORDS)} |" in lines[0]
    (row,) = [line for line in lines if line.startswith("| 1 | +3 | fails |")]
    shares = [float(share) for share in row.split("|")[4].split("/")]
    assert (shares[0], shares[1] >= 93, shares[2] >= 99) == (0, True, True)
