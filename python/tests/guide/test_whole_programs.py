"""Examples of the user's guide that are whole programs: the one with libsvm, and the one with an own executor.

The texts are the printed ones. Repairs and replacements:

- libsvm: the file with the data lies beside the program, as its comment asks for; ``svm-train`` and ``svm-predict`` are
  Debian's, and the test is skipped where they are not installed.
- "Client API" of own executors: the output is kept, and ``Client`` and
  ``blob`` are imported. The executor, which the guide writes in C++, is a few lines of Python here.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from guide_examples import Guide
from real_server import running_server

IRIS = Path(__file__).parents[3] / "examples" / "data" / "iris.csv"

EXECUTOR = """
import os, socket, msgspec
stream = socket.socket(fileno=os.dup(0)).makefile("rwb")

def send(message):
    body = msgspec.msgpack.encode(message)
    stream.write(len(body).to_bytes(4, "little") + body)
    stream.flush()

send(["register", {"version": 1, "name": "example1", "pid": os.getpid()}])
while head := stream.read(4):
    message = msgspec.msgpack.decode(stream.read(int.from_bytes(head, "little")))
    if message[0] == "call":
        (source, *_), = message[5]
        send(["done", message[1], [[b"Hello " + source + b"!", None, None]], {}])
"""


@pytest.mark.skipif(not shutil.which("svm-train"), reason="needs svm-train and svm-predict (Debian: libsvm-tools)")
def test_libsvm(guide: Guide, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(IRIS, tmp_path / "iris.csv")
    guide.run(
        """
import os
from rain.client import Client, tasks, Program, Input, Output, remote

THIS_DIR = os.path.dirname(os.path.abspath(__file__))
DATA_FILE = os.path.join(THIS_DIR, "iris.csv")
CHUNKS = 3


# Convert .csv to libsvm format
@remote()
def convert_to_libsvm_format(ctx, data):
    lines = [line.split(",") for line in data.get_str().rstrip().split("\\n")]
    lines = lines[1:]  # Skip header
    labels = sorted(set(line[-1] for line in lines))

    result = "\\n".join("{} 1:{} 2:{} 3:{} 4:{}".format(
        labels.index(line[4]),
        line[0], line[1], line[2], line[3]) for line in lines)
    return result


def main():

    # Program: SVM train
    # svm-train has following usage: svm-train <trainset> <model>
    # It reads <trainset> and creates file <model> with trained model
    train = Program(("svm-train", Input("data"), Output("output")))

    # Porgram: SVM predict
    # svm-predict has following usage: svm-predict <testdata> <model> <prediction>
    # It reads files <testdata> and <model> and creates file with prediction and
    # prints accuracy on standard output
    predict = Program(("svm-predict", Input("testdata"), Input("model"), Output("prediction")),
                    stdout=Output("accuracy"))

    # Connect to rain server
    client = Client("localhost", 7210)
    with client.new_session() as session:

        # Load data - this is already task, so load is performed on governor
        input_data = tasks.Load(DATA_FILE)

        # Convert data - note that the function is marked @remote
        # so it is not executed now, but on a governor
        converted_data = convert_to_libsvm_format(input_data)

        # Using unix command "sort" to shuffle dataset
        randomized_data = tasks.Execute(("sort", "--random-sort", converted_data), stdout=True)

        # Create chunks via unix command "split"
        chunks = tasks.Execute(("split", "-d", "-n", "l/{}".format(CHUNKS), randomized_data),
                            output_files=["x{:02}".format(i) for i in range(CHUNKS)]).outputs
                            # Note that we are taking "outputs" of the task here ==> ^^^^^^^^

        # Make folds
        train_sets = [tasks.Concat(chunks[:i] + chunks[i+1:]) for i, c in enumerate(chunks)]

        # Train models
        models = [train(data=train_set) for train_set in train_sets]

        # Compute predictions
        predictions = [predict(model=model, testdata=data) for model, data in zip(models, chunks)]

        # Set "keep" flag for "accuracy" output on predictions
        for p in predictions:
            p.outputs["accuracy"].keep()

        # Submit and wait until everything is not completed
        session.submit()
        session.wait_all()

        # Print predictions
        for p in predictions:
            print(p.outputs["accuracy"].fetch().get_str())


if __name__ == "__main__":
    main()
""",
        __file__=str(tmp_path / "program.py"),
    )
    lines = capsys.readouterr().out.split()
    assert lines.count("Accuracy") == 3


def test_own_executor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "executor.py").write_text(EXECUTOR)
    config = tmp_path / "config.toml"
    config.write_text(f'[executors.example1]\ncommand = ["{sys.executable}", "{tmp_path / "executor.py"}"]\n')
    with running_server("--simple", "--no-pin", f"--governor-config={config}") as server:
        Guide(server, tmp_path).run('''
from rain.client import Client, blob
from rain.client import Task


class Hello(Task):
    """ Task takes one blob as input and puts b"Hello " before
        and "!" after the input. """

    TASK_TYPE = "example1/hello"

    def __init__(self, obj):
         # Define task with one input and one output,
         # Outputs may be a (labelled) list of data objects or a number.
         # If a number is used than it creates the specified number of blob outputs
         super().__init__(inputs=(obj,), outputs=1)

client = Client("localhost", 7210)

with client.new_session() as session:
    a = blob("Hello world")
    t = Hello(a)
    t.output.keep()
    session.submit()
    print(t.output.fetch().get_bytes())  # prints b"Hello WORLD!"
client.close()
''')
    assert capsys.readouterr().out == "b'Hello Hello world!'\n"
