"""Every example against a real server, its results against a computation without Rain."""

import hashlib
import math
import re
import subprocess
from collections import Counter
from pathlib import Path


def shell(command, directory):
    return subprocess.run(command, shell=True, cwd=directory, check=True, capture_output=True, text=True).stdout


def test_cross_validation_prints_the_accuracies(run_script):
    lines = run_script("cross_validation").splitlines()
    found = [re.fullmatch(r"fold \d: Accuracy = \S+% \((\d+)/(\d+)\) \(classification\)", line) for line in lines]
    assert len(found) == 3 and all(found), lines
    right, tested = (sum(int(match[group]) for match in found) for group in (1, 2))
    assert tested == 150
    assert right >= 130, "libsvm gets about 145 of the 150 irises right"


def test_cross_validation_computes_what_the_programs_do(example, tmp_path):
    cross_validation = example("cross_validation")
    random_source = tmp_path / "random"
    random_source.write_bytes(bytes(range(256)) * 16)
    shuffle = ("sort", "--random-sort", f"--random-source={random_source}")
    accuracies = cross_validation.cross_validate(shuffle)

    species = ["Iris-setosa", "Iris-versicolor", "Iris-virginica"]
    rows = [line.split(",") for line in Path(cross_validation.DATA_FILE).read_text().split()[1:]]
    (tmp_path / "data").write_text(
        "".join(
            " ".join([str(species.index(row[4])), *(f"{column + 1}:{row[column]}" for column in range(4))]) + "\n"
            for row in rows
        )
    )
    shell(f"{' '.join(shuffle)} data > shuffled && split -d -n l/3 shuffled", tmp_path)
    expected = []
    for fold in range(3):
        others = " ".join(f"x0{other}" for other in range(3) if other != fold)
        shell(f"cat {others} > train && svm-train train model", tmp_path)
        expected.append(shell(f"svm-predict x0{fold} model prediction", tmp_path).strip())
    assert accuracies == expected


def test_licence_words(example, run_script):
    licence_words = example("licence_words")
    paths = licence_words.licences()
    assert len(paths) >= 5
    figures, frequent = licence_words.analyse(paths)

    texts = {path.name: re.findall("[a-z]+", path.read_text().lower()) for path in paths}
    everything = Counter(word for words in texts.values() for word in words)
    assert frequent == sorted(everything.items(), key=lambda item: (-item[1], item[0]))[:5]
    assert set(figures) == set(texts)
    vocabularies = [set(words) for words in texts.values()]
    for name, words in texts.items():
        counts = Counter(words)
        weights = {
            word: count * math.log(len(texts) / sum(word in vocabulary for vocabulary in vocabularies))
            for word, count in counts.items()
        }
        typical = sorted(counts, key=lambda word: (-weights[word], word))[:5]
        assert figures[name] == {"words": len(words), "distinct": len(counts), "typical": typical}, name

    printed = run_script("licence_words")
    assert all(name in printed for name in texts)


def test_import_census(example, run_script, tmp_path):
    import_census = example("import_census")
    packages = ("json", "logging", "xml")
    lines, imports, report = import_census.census(packages)

    expected_imports = Counter()
    sources = {}
    for package in packages:
        root = import_census.LIBRARY / package
        sources[package] = {path.relative_to(root): path.read_bytes() for path in root.rglob("*.py")}
        for text in sources[package].values():
            expected_imports.update(re.findall(r"^(?:import|from) ([a-zA-Z_]+)", text.decode(), re.MULTILINE))
    assert imports == sorted(expected_imports.items(), key=lambda item: (-item[1], item[0]))
    assert lines == {name: sum(text.count(b"\n") for text in files.values()) for name, files in sources.items()}

    report.write(tmp_path / "report")
    for package, files in sources.items():
        found = dict(
            reversed(line.split("  ", 1))
            for line in (tmp_path / f"report/checksums/{package}.txt").read_text().splitlines()
        )
        assert found == {f"./{path}": hashlib.sha256(text).hexdigest() for path, text in files.items()}

    assert "imported most:" in run_script("import_census")
