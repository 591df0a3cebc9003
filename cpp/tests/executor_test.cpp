/// Executors from the other end of their socket.
#include "files.h"
#include "governor.h"

using namespace tasklib;

namespace {

void hello_of_the_guide() {
  Executor executor("example1");
  executor.add_task("hello", [](Context &ctx, auto &inputs, auto &outputs) {
    if (!ctx.check_n_args(1)) {
      return;
    }
    auto &input1 = inputs[0];
    std::string str = "Hello " + input1->read_as_string() + "!";
    outputs.push_back(std::make_unique<MemDataInstance>(str));
  });
  Governor governor(executor);
  CHECK_EQUAL(governor.registered()[0].as_string(), "register");
  CHECK_EQUAL(governor.registered()[1]["name"].as_string(), "example1");
  CHECK_EQUAL(governor.registered()[1]["version"].as_uint(), 1u);
  CHECK_EQUAL(governor.registered()[1]["pid"].as_uint(), static_cast<std::uint64_t>(getpid()));

  const auto hello = governor.define("example1/hello");
  CHECK_EQUAL(governor.outputs(hello, {{"World"}})[0][0].as_string(), "Hello World!");
  CHECK_EQUAL(governor.failure(hello, {}), "example1/hello takes 1 input, but was given 0");
  CHECK_EQUAL(governor.failure(governor.define("example1/other")),
              "executor \"example1\" has no task example1/other; it has example1/hello");

  // Many calls in one write, cut anywhere.
  std::string frames;
  for (int i = 0; i < 1000; ++i) frames += Governor::frame(governor.call_message(hello, {{std::to_string(i)}}));
  std::thread sender([&] {
    for (std::size_t at = 0; at < frames.size(); at += 1013) governor.send_bytes(frames.substr(at, 1013));
  });
  for (int i = 0; i < 1000; ++i) {
    CHECK_EQUAL(governor.receive()[2][0][0].as_string(), "Hello " + std::to_string(i) + "!");
  }
  sender.join();

  governor.send(say::list({say::text("forget"), say::list({say::number(hello)})}));
  CHECK_CONTAINS(governor.failure(hello, {{"x"}}), "kind 1 of tasks was not defined");
  CHECK_EQUAL(governor.finish(), "");
}

void bad_frames_end_the_executor() {
  Executor executor("x");
  {
    Governor governor(executor);
    governor.send(say::list({say::text("what")}));
    CHECK_EQUAL(governor.finish(), "unknown message what");
  }
  Governor governor(executor);
  governor.send_bytes("\xff\xff\xff\x7f");
  CHECK_CONTAINS(governor.finish(), "is too long");
}

void wrong_executors_are_refused() {
  CHECK_THROWS(std::invalid_argument, Executor(""), "at least");
  CHECK_THROWS(std::invalid_argument, Executor("a/b"), "no '/'");
  Executor executor("x");
  const auto nothing = [](Context &, Inputs &, Outputs &) {};
  executor.add_task("a", nothing);
  CHECK_THROWS(std::invalid_argument, executor.add_task("a", nothing), "already");
  CHECK_THROWS(std::invalid_argument, executor.add_task("", nothing), "name");
}

void inputs_have_attributes() {
  Executor executor("x");
  executor.add_task("show", [](Context &ctx, Inputs &inputs, Outputs &outputs) {
    const TaskSpec &spec = ctx.spec();
    std::ostringstream text;
    text << spec.session_id << ' ' << spec.task_id << ' ' << spec.task_type << ' ' << spec.name << ' ' << spec.cpus
         << ' ' << spec.user << ' ' << spec.first_output_id << ' ' << ctx.info().governor << ' '
         << ctx.config()["n"].as_int() << '\n';
    const auto &input = inputs["second"];
    text << input->label() << ' ' << input->content_type() << ' ' << input->user() << ' ' << input->object_id() << ' '
         << input->size() << ' ' << read_file(input->path()) << '\n';
    ctx.info().user = "{\"seen\": true}";
    outputs["text"] = std::make_unique<MemDataInstance>(text.str(), "text");
    CHECK_THROWS(TaskError, outputs["text"]->set_user("[1]"), "it is JSON, but not an object: [1]");
    CHECK_THROWS(TaskError, outputs["text"]->set_user(""), "it is not JSON: ");
    CHECK_THROWS(TaskError, outputs["text"]->set_user("{\"a\": 1e999}"), "a number in it is too large: {");
    CHECK_THROWS(TaskError, outputs["text"]->set_user("{\"a\": \"\\ud800\"}"), "half of a surrogate pair");
    CHECK_THROWS(TaskError, outputs["text"]->set_user("{\"a\": \"\xff\"}"), "not UTF-8");
    outputs["text"]->set_user("{\"n\": [1]}");
    outputs["same"] = std::move(inputs["second"]);
    outputs["changed"] = std::move(inputs["first"]);
    outputs["changed"]->set_content_type("json");
    CHECK_EQUAL(outputs.declared().size(), 3u);
    CHECK_THROWS(TaskError, inputs["third"], "label \"third\"");
    CHECK_THROWS(TaskError, inputs[2], "no input 2: the task was given 2");
    CHECK_THROWS(TaskError, outputs[3], "no output 3: 3 are declared");
    CHECK_THROWS(TaskError, outputs["none"], "label \"none\"");
  });
  executor.add_task("task", [](Context &ctx, Inputs &, Outputs &) { ctx.info().user = ctx.config().as_string(); });
  executor.add_task("output", [](Context &ctx, Inputs &, Outputs &) {
    MemDataInstance("").set_user(ctx.config().as_string());
  });
  executor.add_task("failing", [](Context &ctx, Inputs &, Outputs &) {
    ctx.info().user = ctx.config().as_string();
    ctx.set_error("failed");
  });
  Governor governor(executor);
  const auto show = governor.define("x/show", {{"text", {}, ""}, {"changed", {}, ""}, {"same", {}, ""}},
                                    {"first", "second"}, say::map({{"n", say::number(1)}}).encode());
  const std::vector<GivenInput> inputs{{"1"}, {"two", "", "text/csv", "{}", false, 0, 5}};
  const Value answer = governor.call(show, inputs, say::map({{"n", say::number(2)}}), "{\"a\": 1}");
  CHECK_EQUAL(answer[2][0][0].as_string(), "4 40 x/show a/name 2 {\"a\": 1} 30 6 2\nsecond text/csv {} 5 3 two\n");
  CHECK_EQUAL(answer[2][0][1].as_string(), "text");
  CHECK_EQUAL(answer[2][0][2].as_string(), "{\"n\": [1]}");
  CHECK_EQUAL(answer[2][1][0].as_uint(), 0u);
  CHECK_EQUAL(answer[2][1][1].as_string(), "json");
  CHECK_EQUAL(answer[2][2][0].as_uint(), 1u);
  CHECK(answer[2][2][1].is_nil() && answer[2][2][2].is_nil());
  CHECK_EQUAL(answer[3]["user"].as_string(), "{\"seen\": true}");
  // Without one of its own, the kind's configuration.
  CHECK_CONTAINS(governor.outputs(show, inputs)[0][0].as_string(), " 1\n");
  CHECK_EQUAL(governor.files(), 0u);
  for (const char *where : {"x/task", "x/output"}) {
    const auto task = governor.define(where, {});
    for (const char *wrong : {"{", "[1, 2]", "7", "null", "{\"a\": 1e999}", "{\"a\": \"\\ud800\"}"}) {
      CHECK_CONTAINS(governor.failure(task, {}, say::text(wrong)), "user attributes have to be the text of a JSON object");
    }
    CHECK_EQUAL(governor.outputs(task, {}, say::text("{\"a\": 1}")).size(), 0u);
  }
  // The error of a task does not need its attributes, so wrong ones are left out.
  const auto failing = governor.define("x/failing", {});
  CHECK_EQUAL(governor.call(failing, {}, say::text("{\"a\": 1}"))[2]["user"].as_string(), "{\"a\": 1}");
  const Value failed = governor.call(failing, {}, say::text("[1]"));
  CHECK(failed[2]["message"].as_string() == "failed" && !failed[2].contains("user"));
}

void long_texts_are_cut_and_long_answers_are_errors() {
  Executor executor("x");
  executor.add_task("debug", [](Context &ctx, Inputs &, Outputs &) {
    const std::string line(1000, 'd');
    for (int i = 0; i < 3000; ++i) ctx.debug(line);
    if (ctx.config().as_bool()) throw TaskError("ř" + std::string(3 << 20, 'e'));
  });
  executor.add_task("exact", [](Context &ctx, Inputs &, Outputs &) {
    ctx.debug(std::string(detail::kTextBytesMax, 'd'));
    if (ctx.config().as_bool()) ctx.debug("");
  });
  executor.add_task("character", [](Context &ctx, Inputs &, Outputs &) {
    ctx.debug(std::string(detail::kTextBytesMax - 1, 'd') + "ř");
  });
  executor.add_task("answer", [](Context &, Inputs &, Outputs &outputs) {
    auto instance = std::make_unique<MemDataInstance>("content");
    instance->set_content_type(std::string(detail::kFrameBytesMax, 't'));
    outputs.push_back(std::move(instance));
  });
  Governor governor(executor);
  const std::string note = "\n[further debug messages are left out]";
  const auto debug = governor.define("x/debug", {});
  const Value done = governor.call(debug, {}, Value(false));
  CHECK_EQUAL(done[0].as_string(), "done");
  const std::string &text = done[3]["debug"].as_string();
  CHECK_EQUAL(text.size(), detail::kTextBytesMax + note.size());
  CHECK_EQUAL(text.substr(detail::kTextBytesMax), note);
  const Value failed = governor.call(debug, {}, Value(true));
  const std::string &message = failed[2]["message"].as_string();
  const std::string rest = "e\n[the rest is left out: the message had 3145730 bytes]";
  CHECK_EQUAL(message.size(), detail::kTextBytesMax + rest.size() - 1);
  CHECK_EQUAL(message.substr(message.size() - rest.size()), rest);
  CHECK_EQUAL(failed[2]["debug"].as_string(), text);

  const auto exact = governor.define("x/exact", {});
  CHECK_EQUAL(governor.call(exact, {}, Value(false))[3]["debug"].as_string().size(), detail::kTextBytesMax);
  CHECK_CONTAINS(governor.call(exact, {}, Value(true))[3]["debug"].as_string(), note);
  const Value character = governor.call(governor.define("x/character", {}));
  CHECK_EQUAL(character[3]["debug"].as_string(), std::string(detail::kTextBytesMax - 1, 'd') + note);

  CHECK_CONTAINS(governor.failure(governor.define("x/answer")), "but at most 268435456 can be sent");
  CHECK_EQUAL(governor.finish(), "");
}

struct OwnError {};

void exceptions_are_errors_of_the_task() {
  Executor executor("x");
  executor.add_task("task", [](Context &ctx, Inputs &inputs, Outputs &outputs) {
    const std::string what = inputs[0]->read_as_string();
    if (what == "plain") throw TaskError("just this");
    if (what == "own") throw OwnError{};
    if (what == "latin1") throw TaskError("Gr\xfc\xdf" "e");
    if (what == "nested") {
      try {
        throw std::out_of_range("inside");
      } catch (const std::exception &) {
        std::throw_with_nested(TaskError("outside"));
      }
    }
    if (what == "set") ctx.set_error("was set");
    if (what == "hole") outputs[0] = nullptr;
    if (what == "outputs" && !ctx.check_n_outputs(2)) return;
  });
  Governor governor(executor);
  const auto task = governor.define("x/task");
  CHECK_EQUAL(governor.failure(task, {{"plain"}}), "just this");
  CHECK_CONTAINS(governor.failure(task, {{"own"}}), "OwnError was thrown");
  CHECK_EQUAL(governor.failure(task, {{"latin1"}}), "Gr\xef\xbf\xbd\xef\xbf\xbd" "e");
  CHECK_EQUAL(governor.failure(task, {{"nested"}}), "outside\ncaused by std::out_of_range: inside");
  CHECK_EQUAL(governor.failure(task, {{"set"}}), "was set");
  CHECK_EQUAL(governor.failure(task, {{"hole"}}), "output \"output\" was not made");
  CHECK_EQUAL(governor.failure(task, {{"outputs"}}), "x/task makes 2 outputs, but 1 is declared");
  CHECK_EQUAL(governor.failure(task, {{"nothing"}}), "the task made 0 outputs, but 1 are declared");
  CHECK_EQUAL(governor.failure(task), "there is no input 0: the task was given 0");
}

}  // namespace

int main() {
  hello_of_the_guide();
  bad_frames_end_the_executor();
  wrong_executors_are_refused();
  inputs_have_attributes();
  long_texts_are_cut_and_long_answers_are_errors();
  exceptions_are_errors_of_the_task();
}
