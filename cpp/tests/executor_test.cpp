/// Executors from the other end of their socket.
#include <atomic>
#include <cstring>
#include <fstream>

#include "governor.h"

using namespace tasklib;
namespace fs = std::filesystem;

namespace {

std::string read_file(const fs::path &path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

void write_file(const fs::path &path, const std::string &content) {
  std::ofstream(path, std::ios::binary) << content;
}

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

void inputs_are_viewed_without_a_copy() {
  Executor executor("x");
  const void *seen = nullptr;
  executor.add_task("sum", [&](Context &ctx, Inputs &inputs, Outputs &outputs) {
    double sum = 0;
    for (const auto &input : inputs) {
      const span<const double> values = input->view_as<double>();
      CHECK(reinterpret_cast<std::uintptr_t>(values.data()) % alignof(double) == 0);
      for (const double value : values) sum += value;
      ctx.debug("read ", values.size(), " values of ", input->size(), " bytes");
    }
    if (!inputs.empty()) seen = inputs[0]->view().data();
    outputs.push_back(std::make_unique<MemDataInstance>(&sum, sizeof sum));
  });
  Governor governor(executor);
  const auto sum = governor.define("x/sum");
  const std::vector<double> values{1, 2, 3.5};
  const std::string bytes(reinterpret_cast<const char *>(values.data()), values.size() * sizeof(double));
  const fs::path path = governor.directory() / "given";
  write_file(path, bytes);

  // The shift of the content in the frame changes with the content type.
  for (std::size_t shift = 0; shift < 9; ++shift) {
    const Value answer = governor.call(sum, {{bytes, "", std::string(shift, 't')}, {"", path, "", "", false, 24}});
    double result;
    std::memcpy(&result, answer[2][0][0].as_string().data(), sizeof result);
    CHECK_EQUAL(result, 13.0);
    CHECK_EQUAL(answer[3]["debug"].as_string(), "read 3 values of 24 bytes\nread 3 values of 24 bytes");
  }
  CHECK_CONTAINS(governor.failure(sum, {{"123"}}), "3 bytes does not hold whole values of 8 bytes");
  CHECK_CONTAINS(governor.failure(sum, {{"", path.string() + "-", "", "", false, 24}}), "No such file");

  // The file of the last input stays mapped until another is.
  governor.outputs(sum, {{"", path, "", "", false, 24, 1}});
  const void *first = seen;
  governor.outputs(sum);
  governor.outputs(sum, {{"", path, "", "", false, 24, 1}});
  CHECK(seen == first);
  write_file(path.string() + "2", std::string(4096 * 5, '\0'));
  governor.outputs(sum, {{"", path.string() + "2", "", "", false, 4096 * 5, 2}});
  write_file(path.string() + "3", "");
  governor.outputs(sum, {{"", path.string() + "3", "", "", false, 0, 3}});
}

struct alignas(64) Line {
  double values[8];
};

void views_stay_good_until_the_end_of_the_call() {
  Executor executor("x");
  executor.add_task("views", [](Context &, Inputs &inputs, Outputs &outputs) {
    const auto doubles = inputs[0]->view_as<double>();
    const auto lines = inputs[0]->view_as<Line>();
    const auto again = inputs[0]->view_as<double>();
    const auto numbers = inputs[0]->view_as<std::uint16_t>();
    CHECK(reinterpret_cast<std::uintptr_t>(lines.data()) % alignof(Line) == 0);
    CHECK(again.data() == doubles.data());
    // The second input has the same content at another place.
    CHECK(inputs[1]->view_as<Line>().data() != lines.data());
    // Neither passing the input on nor putting something else there ends the views.
    outputs[0] = std::move(inputs[0]);
    outputs[0] = std::make_unique<MemDataInstance>("other");
    CHECK_EQUAL(lines.size(), 2u);
    for (std::size_t i = 0; i < 16; ++i) {
      CHECK_EQUAL(doubles[i], static_cast<double>(i));
      CHECK_EQUAL(lines[i / 8].values[i % 8], static_cast<double>(i));
    }
    CHECK_EQUAL(numbers.size(), 64u);
    CHECK_EQUAL(numbers[7], 0x3ff0u);
  });
  executor.add_task("instances", [](Context &ctx, Inputs &, Outputs &outputs) {
    std::vector<double> values(8, 2.5);
    auto memory = std::make_unique<MemDataInstance>(values);
    const auto first = memory->view_as<Line>();
    CHECK(memory->view_as<Line>().data() == first.data());
    CHECK_EQUAL(memory->view_as<double>()[7] + first[0].values[7], 5.0);
    auto file = ctx.create_file(8);
    const std::string_view before = file->view();
    file->writable_as<double>()[0] = 1.5;
    CHECK_EQUAL(file->view_as<double>()[0], 1.5);
    CHECK(before.data() == file->view().data());
    outputs.push_back(std::move(file));
  });
  Governor governor(executor);
  const auto views = governor.define("x/views");
  std::string bytes;
  for (int i = 0; i < 16; ++i) {
    const double value = i;
    bytes.append(reinterpret_cast<const char *>(&value), sizeof value);
  }
  for (std::size_t shift = 0; shift < 9; ++shift) {
    const GivenInput input{bytes, "", std::string(shift, 't')};
    CHECK_EQUAL(governor.outputs(views, {input, input})[0][0].as_string(), "other");
  }
  fs::remove(governor.outputs(governor.define("x/instances"))[0][0].as_string());
}

void files_are_looked_at_without_a_right_to_write() {
  Executor executor("x");
  executor.add_task("look", [](Context &ctx, Inputs &inputs, Outputs &outputs) {
    FileDataInstance file(inputs[0]->path());
    CHECK_EQUAL(file.view(), "content");
    CHECK_THROWS(TaskError, file.writable(), "cannot");
    CHECK_THROWS(TaskError, file.resize(1), "cannot");
    auto own = ctx.create_file(3);
    fs::permissions(own->path(), fs::perms::owner_read);
    CHECK_EQUAL(own->read_as_string(), std::string(3, '\0'));
    outputs.push_back(std::make_unique<MemDataInstance>(file.read_as_string()));
  });
  Governor governor(executor);
  const fs::path given = governor.directory() / "given";
  write_file(given, "content");
  fs::permissions(given, fs::perms::owner_read);
  const auto look = governor.define("x/look");
  // Small contents in the message are written to a file first. Root, too, is kept from writing to either.
  CHECK_EQUAL(governor.outputs(look, {{"content"}})[0][0].as_string(), "content");
  CHECK_EQUAL(governor.outputs(look, {{"", given, "", "", false, 7}})[0][0].as_string(), "content");
  CHECK_EQUAL(read_file(given), "content");
}

void references_to_outputs_stay_good() {
  Executor executor("x");
  executor.add_task("places", [](Context &, Inputs &, Outputs &outputs) {
    auto &a = outputs["a"];
    auto &b = outputs["b"];
    auto &c = outputs[2];
    a = std::make_unique<MemDataInstance>("1");
    auto *first = a.get();
    outputs.push_back(std::make_unique<MemDataInstance>("4"));
    c = std::make_unique<MemDataInstance>("3");
    b = std::make_unique<MemDataInstance>("2");
    CHECK(outputs["a"].get() == first);
  });
  Governor governor(executor);
  const auto places = governor.define("x/places", {{"a", {}, ""}, {"b", {}, ""}, {"c", {}, ""}, {"d", {}, ""}});
  const Value outputs = governor.outputs(places);
  for (std::size_t i = 0; i < 4; ++i) CHECK_EQUAL(outputs[i][0].as_string(), std::to_string(i + 1));
}

void const_members_are_for_several_threads() {
  Executor executor("x");
  executor.add_task("read", [](Context &ctx, Inputs &inputs, Outputs &outputs) {
    std::atomic<int> waiting{8};
    std::vector<std::uint64_t> sums(8);
    std::vector<std::thread> threads;
    auto file = ctx.create_file(64);
    for (std::uint64_t &sum : sums) {
      threads.emplace_back([&] {
        --waiting;
        while (waiting > 0) std::this_thread::yield();
        for (const auto &input : inputs) {
          for (const std::uint64_t value : input->view_as<std::uint64_t>()) sum += value;
          sum += read_file(input->path()).size();
        }
        sum += file->view().size() + ctx.config()["n"].as_uint() + ctx.spec().session_id;
        write_file(ctx.new_path(), "left");
        ctx.debug("read");
      });
    }
    for (std::thread &thread : threads) thread.join();
    std::uint64_t total = 0;
    for (const std::uint64_t sum : sums) total += sum;
    outputs.push_back(std::make_unique<MemDataInstance>(std::to_string(total)));
  });
  Governor governor(executor);
  const auto read = governor.define("x/read");
  const std::uint64_t value = 7;
  const std::string bytes(reinterpret_cast<const char *>(&value), sizeof value);
  std::vector<GivenInput> inputs;
  std::uint64_t expected = 64 + 5 + 4;
  for (std::uint64_t number = 0; number < 8; ++number) {
    inputs.push_back({bytes, "", std::string(number, 't')});
    const fs::path path = governor.directory() / std::to_string(number);
    write_file(path, bytes);
    inputs.push_back({"", path, "", "", false, 8, 100 + number});
    expected += 2 * (7 + 8);
  }
  for (int round = 0; round < 20; ++round) {
    const Value answer = governor.call(read, inputs, say::map({{"n", say::number(5)}}));
    CHECK_EQUAL(answer[2][0][0].as_string(), std::to_string(8 * expected));
    CHECK_EQUAL(answer[3]["debug"].as_string(), "read\nread\nread\nread\nread\nread\nread\nread");
    governor.send(say::list({say::text("forget"), say::list({})}));
  }
  CHECK_EQUAL(governor.files(), 8u);
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

void files_and_directories_are_made() {
  Executor executor("x");
  executor.add_task("file", [](Context &ctx, Inputs &, Outputs &outputs) {
    auto file = ctx.create_file(100000 * sizeof(std::uint32_t), "numbers");
    std::uint32_t next = 0;
    for (std::uint32_t &value : file->writable_as<std::uint32_t>()) value = next++;
    CHECK_EQUAL(file->size(), 400000u);
    file->resize(200000);
    CHECK_EQUAL(file->view_as<std::uint32_t>()[49999], 49999u);
    outputs.push_back(std::move(file));
  });
  executor.add_task("large", [](Context &, Inputs &, Outputs &outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>(std::string(100000, 'x')));
  });
  executor.add_task("directory", [](Context &ctx, Inputs &inputs, Outputs &outputs) {
    auto directory = ctx.create_directory();
    for (const auto &entry : fs::directory_iterator(inputs[0]->path())) {
      write_file(directory->path() / entry.path().filename(), read_file(entry.path()) + "!");
    }
    CHECK_THROWS(TaskError, inputs[0]->view(), "is a directory");
    outputs.push_back(std::move(directory));
  });
  fs::path work;
  executor.add_task("named", [&](Context &, Inputs &, Outputs &outputs) {
    write_file(work / "file", "made");
    fs::create_symlink("file", work / "link");
    fs::create_directory(work / "directory");
    outputs.push_back(std::make_unique<FileDataInstance>(work / "link"));
    outputs.push_back(std::make_unique<DirectoryDataInstance>((work / "directory").string() + "/"));
  });
  executor.add_task("failing", [](Context &ctx, Inputs &, Outputs &outputs) {
    outputs.push_back(ctx.create_file(70000));
    outputs.push_back(ctx.create_directory());
    write_file(ctx.new_path(), "left");
    ctx.debug("before");
    throw std::runtime_error("no luck");
  });
  executor.add_task("missing", [](Context &, Inputs &, Outputs &) { FileDataInstance("/no/such/file"); });
  Governor governor(executor);

  const Value made = governor.outputs(governor.define("x/file"))[0];
  const std::string numbers = read_file(made[0].as_string());
  CHECK_EQUAL(numbers.size(), 200000u);
  CHECK_EQUAL(numbers[4], '\x01');
  CHECK_EQUAL(made[1].as_string(), "numbers");
  CHECK_EQUAL(fs::path(made[0].as_string()).parent_path(), fs::canonical(governor.directory()));
  fs::remove(made[0].as_string());

  const std::string large = governor.outputs(governor.define("x/large"))[0][0].as_string();
  CHECK_EQUAL(fs::file_size(large), 100000u);
  fs::remove(large);

  const fs::path given = governor.directory() / "given";
  fs::create_directory(given);
  write_file(given / "a", "A");
  const OutputSpec directory{"tiles", DataType::directory, ""};
  const auto kind = governor.define("x/directory", {directory});
  const fs::path copied = governor.outputs(kind, {{"", given, "", "", true}})[0][0].as_string();
  CHECK_EQUAL(read_file(copied / "a"), "A!");
  fs::remove_all(copied);
  fs::remove_all(given);
  CHECK_CONTAINS(governor.failure(governor.define("x/file", {directory})), "output \"tiles\" is a blob, but");

  work = fs::canonical(governor.directory());
  const Value named = governor.outputs(governor.define("x/named", {{"f", {}, ""}, directory}));
  CHECK_EQUAL(named[0][0].as_string(), (work / "file").string());
  CHECK_EQUAL(read_file(work / "file"), "made");
  CHECK_EQUAL(named[1][0].as_string(), (work / "directory").string());
  for (const char *name : {"file", "link", "directory"}) fs::remove(work / name);

  const Value failed = governor.call(governor.define("x/failing", {{"f", {}, ""}, directory}));
  CHECK_EQUAL(failed[2]["message"].as_string(), "std::runtime_error: no luck");
  CHECK_EQUAL(failed[2]["debug"].as_string(), "before");
  CHECK_CONTAINS(governor.failure(governor.define("x/file", {})), "made 1 outputs, but 0 are declared");
  CHECK_CONTAINS(governor.failure(governor.define("x/missing")), "no file /no/such/file");
  CHECK_EQUAL(governor.files(), 0u);
}

void paths_of_inputs_pass_the_inputs_on() {
  char name[] = "/tmp/tasklib-other-XXXXXX";
  const fs::path other = mkdtemp(name);
  Executor executor("x");
  executor.add_task("same", [](Context &ctx, Inputs &inputs, Outputs &outputs) {
    outputs["file"] = std::make_unique<FileDataInstance>(inputs[0]->path(), "text/csv");
    const fs::path link = ctx.new_path();
    fs::create_symlink(inputs[1]->path(), link);
    outputs["directory"] = std::make_unique<DirectoryDataInstance>(link);
    // Not as the governor names it.
    const fs::path path = inputs[2]->path();
    outputs["again"] = std::make_unique<FileDataInstance>(path.parent_path() / "." / path.filename());
  });
  executor.add_task("changed", [](Context &, Inputs &inputs, Outputs &outputs) {
    const fs::path path = inputs[0]->path();
    fs::permissions(path, fs::perms::owner_all);
    write_file(path, "changed");
    outputs.push_back(std::make_unique<FileDataInstance>(path));
  });
  executor.add_task("part", [](Context &, Inputs &inputs, Outputs &outputs) {
    outputs.push_back(std::make_unique<FileDataInstance>(inputs[0]->path() / "part"));
  });
  executor.add_task("elsewhere", [&](Context &ctx, Inputs &, Outputs &outputs) {
    fs::path path = other / ctx.config().as_string();
    if (fs::is_directory(path)) outputs.push_back(std::make_unique<DirectoryDataInstance>(path));
    else outputs.push_back(std::make_unique<FileDataInstance>(path));
  });
  executor.add_task("link", [&](Context &ctx, Inputs &, Outputs &outputs) {
    const fs::path link = ctx.new_path();
    fs::create_symlink(other / "file", link);
    outputs.push_back(std::make_unique<FileDataInstance>(link));
  });
  Governor governor(executor);
  // The directory of inputs is next to the executor's.
  fs::create_directory(other / "tree");
  write_file(other / "tree" / "part", "part");
  write_file(other / "file", "content");
  const GivenInput file{"", other / "file", "", "", false, 7, 1};
  const GivenInput tree{"", other / "tree", "", "", true, 4, 2};
  const OutputSpec directory{"directory", DataType::directory, ""};

  const auto same = governor.define("x/same", {{"file", {}, ""}, directory, {"again", {}, ""}});
  const Value outputs = governor.outputs(same, {file, tree, {"small", "", "text"}});
  CHECK_EQUAL(outputs[0][0].as_uint(), 0u);
  CHECK_EQUAL(outputs[0][1].as_string(), "text/csv");
  CHECK_EQUAL(outputs[1][0].as_uint(), 1u);
  CHECK(outputs[1][1].is_nil() && outputs[1][2].is_nil());
  CHECK_EQUAL(outputs[2][0].as_uint(), 2u);
  CHECK(outputs[2][1].is_nil());
  // Inputs of other calls are forgotten.
  const Value turned = governor.outputs(same, {{"small"}, tree, file});
  CHECK_EQUAL(turned[0][0].as_uint(), 0u);
  CHECK_EQUAL(turned[2][0].as_uint(), 2u);

  CHECK_CONTAINS(governor.failure(governor.define("x/changed"), {{"small"}}), "input 0 was written to at");
  CHECK_CONTAINS(governor.failure(governor.define("x/part"), {tree}), "tree/part is not inside of");
  const auto elsewhere = governor.define("x/elsewhere");
  CHECK_CONTAINS(governor.failure(elsewhere, {}, say::text("file")), "/file is not inside of");
  CHECK_CONTAINS(governor.failure(governor.define("x/link")), "/file is not inside of");
  const auto elsewhere_directory = governor.define("x/elsewhere", {directory});
  for (const fs::path &path : {other / "tree", other, governor.directory(), fs::path("/")}) {
    CHECK_CONTAINS(governor.failure(elsewhere_directory, {}, say::text(path)), " is not inside of");
  }
  CHECK_EQUAL(read_file(other / "file"), "content");
  CHECK_EQUAL(read_file(other / "tree" / "part"), "part");
  CHECK_EQUAL(governor.files(), 0u);
  fs::remove_all(other);
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
  inputs_are_viewed_without_a_copy();
  views_stay_good_until_the_end_of_the_call();
  files_are_looked_at_without_a_right_to_write();
  references_to_outputs_stay_good();
  const_members_are_for_several_threads();
  inputs_have_attributes();
  files_and_directories_are_made();
  paths_of_inputs_pass_the_inputs_on();
  long_texts_are_cut_and_long_answers_are_errors();
  exceptions_are_errors_of_the_task();
}
