/// An executor for the tests with a real governor (python/tests/server/test_own_executors.py): tasks of each sort, and
/// everything an executor can do wrong. `--name=NAME` sets its name, the other arguments are what it does at start.
#include <signal.h>
#include <sys/socket.h>
#include <tasklib/executor.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <numeric>

using namespace tasklib;

namespace {

void start_badly(const std::string &how) {
  if (how == "--shout") {
    // Standard output is for people, so this does no harm.
    std::puts("shouted on standard output");
    std::fflush(stdout);
  } else if (how == "--garbage") {
    std::puts("sends garbage");
    std::fflush(stdout);
    send(0, "\x05\0\0\0hello", 9, 0);
    pause();
  } else if (how == "--version") {
    // ["register", {"version": 9, "name": "cpp", "pid": 1}]
    const char frame[] = "\x22\0\0\0\x92\xa8register\x83\xa7version\x09\xa4name\xa3" "cpp\xa3pid\x01";
    std::fputs("speaks version 9\n", stderr);
    send(0, frame, sizeof frame - 1, 0);
    pause();
  } else if (how == "--crash") {
    std::fputs("about to crash\n", stderr);
    std::abort();
  } else if (how == "--exit") {
    std::fputs("about to exit\n", stderr);
    std::exit(3);
  } else if (how == "--hang") {
    std::fputs("about to hang\n", stderr);
    while (true) pause();
  } else {
    std::fprintf(stderr, "unknown argument %s\n", how.c_str());
    std::exit(2);
  }
}

void add_good_tasks(Executor &executor) {
  executor.add_task("hello", [](Context &ctx, auto &inputs, auto &outputs) {
    if (!ctx.check_n_args(1)) return;
    outputs.push_back(std::make_unique<MemDataInstance>("Hello " + inputs[0]->read_as_string() + "!"));
  });
  executor.add_task("nothing", [](Context &, auto &, auto &outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>(std::string()));
  });
  executor.add_task("sum", [](Context &ctx, auto &inputs, auto &outputs) {
    if (!ctx.check_n_args(1)) return;
    const auto numbers = inputs[0]->template view_as<std::uint64_t>();
    const std::uint64_t sum = std::accumulate(numbers.begin(), numbers.end(), std::uint64_t{0});
    outputs.push_back(std::make_unique<MemDataInstance>(std::to_string(sum), "text"));
  });
  executor.add_task("range", [](Context &ctx, auto &, auto &outputs) {
    auto file = ctx.create_file(ctx.config()["count"].as_uint() * sizeof(std::uint64_t));
    const auto values = file->template writable_as<std::uint64_t>();
    std::iota(values.begin(), values.end(), std::uint64_t{0});
    outputs.push_back(std::move(file));
  });
  executor.add_task("split", [](Context &ctx, auto &inputs, auto &outputs) {
    const std::string text = inputs["text"]->read_as_string();
    auto directory = ctx.create_directory();
    std::size_t lines = 0;
    std::istringstream stream(text);
    for (std::string line; std::getline(stream, line); ++lines) {
      std::ofstream(directory->path() / std::to_string(lines)) << line;
    }
    ctx.debug("split ", lines, " lines");
    ctx.info().user = "{\"lines\": " + std::to_string(lines) + ", \"asked\": " +
                      (ctx.spec().user.empty() ? "null" : ctx.spec().user) + "}";
    outputs["parts"] = std::move(directory);
    outputs["count"] = std::make_unique<MemDataInstance>(std::to_string(lines), "json");
    outputs["count"]->set_user("{\"unit\": \"lines\"}");
    outputs["same"] = std::move(inputs["text"]);
  });
  executor.add_task("join", [](Context &, auto &inputs, auto &outputs) {
    std::string joined;
    for (int part = 0; std::filesystem::exists(inputs[0]->path() / std::to_string(part)); ++part) {
      std::ifstream file(inputs[0]->path() / std::to_string(part));
      joined.append(std::istreambuf_iterator<char>(file), {}).append(";");
    }
    outputs.push_back(std::make_unique<MemDataInstance>(joined));
  });
  executor.add_task("signals", [](Context &ctx, auto &, auto &outputs) {
    raise(SIGINT);
    FILE *program = popen("grep Sig /proc/self/status", "r");
    char line[100];
    while (std::fgets(line, sizeof line, program) != nullptr) ctx.debug(line);
    const int status = pclose(program);
    outputs.push_back(std::make_unique<MemDataInstance>(std::to_string(status)));
  });
  executor.add_task("chatter", [](Context &ctx, auto &, auto &outputs) {
    // More than a message can have.
    const std::string line(1000, 'd');
    for (int i = 0; i < 300000; ++i) ctx.debug(line);
    outputs.push_back(std::make_unique<MemDataInstance>(std::to_string(getpid())));
  });
  executor.add_task("attributes", [](Context &ctx, auto &, auto &outputs) {
    ctx.info().user = ctx.config().as_string();
    auto output = std::make_unique<MemDataInstance>("content");
    output->set_user(ctx.config().as_string());
    outputs.push_back(std::move(output));
  });
  executor.add_task("same_path", [](Context &, auto &inputs, auto &outputs) {
    // Not moved away, though that is what becomes of other files.
    const auto path = inputs[0]->path();
    if (inputs[0]->is_directory()) outputs.push_back(std::make_unique<DirectoryDataInstance>(path));
    else outputs.push_back(std::make_unique<FileDataInstance>(path));
  });
  executor.add_task("part", [](Context &ctx, auto &inputs, auto &outputs) {
    outputs.push_back(std::make_unique<FileDataInstance>(inputs[0]->path() / ctx.config().as_string()));
  });
  executor.add_task("pid", [](Context &, auto &, auto &outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>(std::to_string(getpid())));
  });
}

void add_bad_tasks(Executor &executor) {
  executor.add_task("throw", [](Context &ctx, auto &, auto &) {
    ctx.debug("about to throw");
    throw std::runtime_error("thrown on purpose");
  });
  executor.add_task("two_outputs", [](Context &, auto &, auto &outputs) {
    outputs.push_back(std::make_unique<MemDataInstance>("1"));
    outputs.push_back(std::make_unique<MemDataInstance>("2"));
  });
  executor.add_task("write_input", [](Context &, auto &inputs, auto &) {
    // What a program that ignores const does.
    const_cast<char *>(inputs[0]->view().data())[0] = 'x';
  });
  executor.add_task("abort", [](Context &, auto &, auto &) {
    std::fputs("last words of abort\n", stderr);
    std::abort();
  });
  executor.add_task("exit", [](Context &, auto &, auto &) {
    std::puts("last words of exit");
    std::exit(3);
  });
  executor.add_task("kill", [](Context &, auto &, auto &) {
    std::fputs("last words of kill\n", stderr);
    raise(SIGKILL);
  });
  executor.add_task("close", [](Context &, auto &, auto &) {
    std::fputs("last words of close\n", stderr);
    for (int fd = 3; fd < 64; ++fd) close(fd);
    while (true) pause();
  });
}

}  // namespace

int main(int argc, char **argv) {
  std::string name = "cpp";
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.rfind("--name=", 0) == 0) name = argument.substr(7);
    else start_badly(argument);
  }
  Executor executor(name);
  add_good_tasks(executor);
  add_bad_tasks(executor);
  executor.start();
}
