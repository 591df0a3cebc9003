"""Cross-validation with the programs of libsvm on Fisher's Iris data: the pipeline of the user's guide.

It needs svm-train and svm-predict (Debian: libsvm-tools) and a running server (`rain start --simple`), whose address
may be given in RAIN_SERVER as HOST:PORT.
"""

import os

from rain.client import Client, Input, Output, Program, remote, tasks

THIS_DIR = os.path.dirname(os.path.abspath(__file__))
DATA_FILE = os.path.join(THIS_DIR, "data", "iris.csv")
SERVER, PORT = os.environ.get("RAIN_SERVER", "localhost:7210").rsplit(":", 1)
CHUNKS = 3
SHUFFLE = ("sort", "--random-sort")


# Convert .csv to libsvm format
@remote()
def convert_to_libsvm_format(ctx, data):
    lines = [line.split(",") for line in data.get_str().rstrip().split("\n")]
    lines = lines[1:]  # Skip header
    labels = sorted({line[-1] for line in lines})

    return "".join(f"{labels.index(line[4])} 1:{line[0]} 2:{line[1]} 3:{line[2]} 4:{line[3]}\n" for line in lines)


def cross_validate(shuffle=SHUFFLE):
    """What svm-predict says of each fold."""
    # Program: SVM train
    # svm-train has following usage: svm-train <trainset> <model>
    # It reads <trainset> and creates file <model> with trained model
    train = Program(("svm-train", Input("data"), Output("output")))

    # Program: SVM predict
    # svm-predict has following usage: svm-predict <testdata> <model> <prediction>
    # It reads files <testdata> and <model> and creates file with prediction and
    # prints accuracy on standard output
    predict = Program(
        ("svm-predict", Input("testdata"), Input("model"), Output("prediction")), stdout=Output("accuracy")
    )

    # Connect to rain server
    client = Client(SERVER, int(PORT))
    with client.new_session("cross-validation") as session:
        # Load data - this is already task, so load is performed on governor
        input_data = tasks.Load(DATA_FILE)

        # Convert data - note that the function is marked @remote
        # so it is not executed now, but on a governor
        converted_data = convert_to_libsvm_format(input_data)

        # Using unix command "sort" to shuffle dataset
        randomized_data = tasks.Execute((*shuffle, converted_data), stdout=True)

        # Create chunks via unix command "split"
        chunks = tasks.Execute(
            ("split", "-d", "-n", f"l/{CHUNKS}", randomized_data), output_files=[f"x{i:02}" for i in range(CHUNKS)]
        ).outputs
        # Note that we are taking "outputs" of the task here

        # Make folds
        train_sets = [tasks.Concat(chunks[:i] + chunks[i + 1 :]) for i, c in enumerate(chunks)]

        # Train models
        models = [train(data=train_set) for train_set in train_sets]

        # Compute predictions
        predictions = [predict(model=model, testdata=data) for model, data in zip(models, chunks)]

        # Set "keep" flag for "accuracy" output on predictions
        for p in predictions:
            p.outputs["accuracy"].keep()

        # Submit and wait until everything is completed
        session.submit()
        session.wait_all()

        return [p.outputs["accuracy"].fetch().get_str().strip() for p in predictions]


def main():
    for fold, accuracy in enumerate(cross_validate(), 1):
        print(f"fold {fold}: {accuracy}")


if __name__ == "__main__":
    main()
