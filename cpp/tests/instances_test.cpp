/// What tasks read and make: views, files, directories, places of outputs.
#include <atomic>
#include <cstring>

#include "files.h"
#include "governor.h"

using namespace tasklib;
namespace fs = std::filesystem;

namespace {

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
    const Value answer = governor.call(sum, {{bytes, "", std::string(shift, 't')}, file_input(path, 24)});
    double result;
    std::memcpy(&result, answer[2][0][0].as_string().data(), sizeof result);
    CHECK_EQUAL(result, 13.0);
    CHECK_EQUAL(answer[3]["debug"].as_string(), "read 3 values of 24 bytes\nread 3 values of 24 bytes");
  }
  CHECK_CONTAINS(governor.failure(sum, {{"123"}}), "3 bytes does not hold whole values of 8 bytes");
  CHECK_CONTAINS(governor.failure(sum, {file_input(path.string() + "-", 24)}), "No such file");

  // The file of the last input stays mapped until another is.
  governor.outputs(sum, {file_input(path, 24, 1)});
  const void *first = seen;
  governor.outputs(sum);
  governor.outputs(sum, {file_input(path, 24, 1)});
  CHECK(seen == first);
  write_file(path.string() + "2", std::string(4096 * 5, '\0'));
  governor.outputs(sum, {file_input(path.string() + "2", 4096 * 5, 2)});
  write_file(path.string() + "3", "");
  governor.outputs(sum, {file_input(path.string() + "3", 0, 3)});
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
  CHECK_EQUAL(governor.outputs(look, {file_input(given, 7)})[0][0].as_string(), "content");
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
    inputs.push_back(file_input(path, 8, 100 + number));
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
  const fs::path copied = governor.outputs(kind, {directory_input(given)})[0][0].as_string();
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
  const GivenInput file = file_input(other / "file", 7, 1);
  const GivenInput tree = directory_input(other / "tree", 4, 2);
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

}  // namespace

int main() {
  inputs_are_viewed_without_a_copy();
  views_stay_good_until_the_end_of_the_call();
  files_are_looked_at_without_a_right_to_write();
  references_to_outputs_stay_good();
  const_members_are_for_several_threads();
  files_and_directories_are_made();
  paths_of_inputs_pass_the_inputs_on();
}
