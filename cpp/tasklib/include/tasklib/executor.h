/// Rain's tasklib: a program with functions that Rain runs as tasks.
///
///     #include <tasklib/executor.h>
///
///     int main() {
///       tasklib::Executor executor("example1");
///       executor.add_task("hello", [](tasklib::Context &ctx, auto &inputs, auto &outputs) {
///         if (!ctx.check_n_args(1)) return;
///         outputs.push_back(std::make_unique<tasklib::MemDataInstance>("Hello " + inputs[0]->read_as_string() + "!"));
///       });
///       executor.start();
///     }
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "tasklib/context.h"
#include "tasklib/data.h"
#include "tasklib/error.h"
#include "tasklib/json.h"
#include "tasklib/span.h"
#include "tasklib/value.h"

namespace tasklib {

/// A task: it reads inputs and fills outputs. An exception fails the task.
using TaskFunction = std::function<void(Context &, Inputs &, Outputs &)>;

class Executor {
 public:
  /// `name` is what the governor's configuration calls it, and the part of its task types before the slash.
  explicit Executor(std::string name);
  ~Executor();
  Executor(const Executor &) = delete;
  Executor &operator=(const Executor &) = delete;

  /// Adds the task type NAME/`method`.
  Executor &add_task(std::string method, TaskFunction function);

  /// Connects to the governor that started this program and runs tasks; returns when the governor ends the executor.
  /// Ends the process if no governor started it or the connection breaks.
  void start();

  /// As start(), on a connected stream socket and with a private directory; for tests of executors. Throws what
  /// start() ends the process for.
  void serve(int socket, const std::filesystem::path &directory);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace tasklib
