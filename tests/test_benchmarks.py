"""The simulation of the verdict rule, and the table that it left; the page of faults."""

import pytest

from benchmarks import faults, looks, stability
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


def test_a_part_of_the_faults_that_is_counted_again_leaves_the_rows_of_the_others(tmp_path):
    path = tmp_path / "reliability.md"
    for part, good in (("kills", 1), ("runs", 2), ("kills", 3)):
        faults.written(path, part, [("done", good, 5, "well"), ("again", good, 5, "well")])
    rows = [line.split("|")[1:4] for line in path.read_text().splitlines()[8:]]
    assert [[cell.strip() for cell in row] for row in rows] == [
        [part, what, f"{good} of 5"] for part, good in (("runs", 2), ("kills", 3)) for what in ("done", "again")
    ]


def test_what_twice_as_many_layers_and_images_take_is_read_from_complete_rows(tmp_path):
    (k, n), rows = looks.HERE, ["lens,layers,images,processor_s,peak_bytes"]
    for layers, size, seconds in ((k, n, 2), (2 * k, n, 3), (k, 2 * n, 8)):
        rows.append(f"information,{layers},{size},{seconds},1e9")
        rows.append(f"discarding,{layers},{looks.images('discarding', size)},{seconds},1e9")
    rows.append(f"codelength,{k},{n},1,1e9")  # a run that was ended here
    (tmp_path / "looks.csv").write_text("\n".join(rows))
    table = [line for line in looks.section(tmp_path) if line.startswith("| ")][1:]
    assert table == [f"| {lens} | 2.0 s | 1.00 GB | 1.5 × | 4.0 × |" for lens in ("information", "discarding")]
    assert looks.section(tmp_path / "nowhere") == []


def test_stability_without_runs_under_other_seeds_says_what_to_run():
    with pytest.raises(SystemExit, match="no report is named shift7: INFOLIB_SEED_SHIFT=7 infolib run --name shift7"):
        stability.main([7])
