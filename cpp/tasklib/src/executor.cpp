#include "tasklib/executor.h"

#include <cxxabi.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <typeinfo>
#include <unordered_map>

#include "attributes.h"
#include "connection.h"
#include "fault.h"
#include "messages.h"
#include "workspace.h"

namespace tasklib {

namespace {

/// Inputs of a call whose list is kept for the next call.
constexpr std::size_t kLentInputsMax = 1024;
/// Bytes of an answer whose memory is kept for the next answer.
constexpr std::size_t kLentAnswerBytesMax = std::size_t{1} << 20;

std::string readable(const std::type_info &type) {
  int status = 0;
  char *name = abi::__cxa_demangle(type.name(), nullptr, nullptr, &status);
  std::string result = status == 0 && name != nullptr ? name : type.name();
  std::free(name);
  return result;
}

/// Type and text of an exception, and of those nested in it; the type of a TaskError goes without saying.
std::string describe(const std::exception &error) {
  std::string text = error.what();
  if (dynamic_cast<const TaskError *>(&error) == nullptr) text = readable(typeid(error)) + ": " + text;
  try {
    std::rethrow_if_nested(error);
  } catch (const std::exception &nested) {
    text += "\ncaused by " + describe(nested);
  } catch (...) {
    text += "\ncaused by something that is not a std::exception";
  }
  return text;
}

/// Of the exception that is being handled.
std::string describe_current() {
  try {
    throw;
  } catch (const std::exception &error) {
    return describe(error);
  } catch (...) {
    const std::type_info *type = abi::__cxa_current_exception_type();
    return "an exception of type " + (type != nullptr ? readable(*type) : "unknown") + " was thrown";
  }
}

}  // namespace

struct Executor::State {
  struct KnownKind {
    detail::Kind kind;
    const TaskFunction *function;
  };

  std::string name;
  std::unordered_map<std::string, TaskFunction> tasks;
  std::unordered_map<std::uint64_t, KnownKind> kinds;

  void define(detail::DefineMessage message) {
    const std::string &type = message.kind.type;
    const std::size_t slash = type.find('/');
    const auto task = tasks.find(slash == std::string::npos ? type : type.substr(slash + 1));
    const TaskFunction *function = task == tasks.end() ? nullptr : &task->second;
    kinds.insert_or_assign(message.kind_id, KnownKind{std::move(message.kind), function});
  }

  const KnownKind &known(std::uint64_t kind_id) const {
    const auto found = kinds.find(kind_id);
    if (found == kinds.end()) throw TaskError("kind " + std::to_string(kind_id) + " of tasks was not defined");
    if (found->second.function != nullptr) return found->second;
    std::string message = "executor \"" + name + "\" has no task " + found->second.kind.type;
    const char *before = "; it has ";
    for (const auto &[method, function] : tasks) {
      message += before + name + "/" + method;
      before = ", ";
    }
    throw TaskError(message);
  }
};

Executor::Executor(std::string name) : state_(std::make_unique<State>()) {
  if (name.empty() || name.find('/') != std::string::npos) {
    throw std::invalid_argument("the name of an executor has a character at least and no '/': " + name);
  }
  state_->name = std::move(name);
}

Executor::~Executor() = default;

Executor &Executor::add_task(std::string method, TaskFunction function) {
  if (method.empty() || !function) throw std::invalid_argument("a task needs a name and a function");
  if (!state_->tasks.emplace(method, std::move(function)).second) {
    throw std::invalid_argument("there is a task " + method + " already");
  }
  return *this;
}

void Executor::start() {
  const char *directory = std::getenv("RAIN_EXECUTOR_DIR");
  if (directory == nullptr) {
    std::fprintf(stderr, "this is executor \"%s\" of Rain, which a governor starts: RAIN_EXECUTOR_DIR is not set\n",
                 state_->name.c_str());
    std::exit(2);
  }
  // Ctrl-C in a terminal goes to all processes there; when to end is the governor's decision. Programs that a task starts
  // would inherit an ignored signal, but not a handler.
  struct sigaction interrupt {};
  interrupt.sa_handler = [](int) {};
  interrupt.sa_flags = SA_RESTART;
  sigemptyset(&interrupt.sa_mask);
  sigaction(SIGINT, &interrupt, nullptr);
  const int socket = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
  const int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
  if (socket < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0) {
    std::perror("the socket of the governor");
    std::exit(1);
  }
  close(null);
  // Lines are in the log when the process dies.
  std::setvbuf(stdout, nullptr, _IOLBF, BUFSIZ);
  detail::watch_faults();
  try {
    serve(socket, directory);
  } catch (const std::exception &error) {
    std::fprintf(stderr, "executor \"%s\" ends: %s\n", state_->name.c_str(), error.what());
    std::exit(1);
  }
  close(socket);
}

void Executor::serve(int socket, const std::filesystem::path &directory) {
  detail::Workspace workspace(directory);
  detail::Connection connection(socket);
  std::string answer;
  detail::append_register(answer, state_->name, static_cast<std::uint32_t>(getpid()));
  connection.send(answer);

  Inputs inputs;
  Outputs outputs;
  detail::CallMessage lent;

  const auto write_outputs = [&](const detail::Kind &kind) {
    if (outputs.size() != kind.outputs.size()) {
      throw TaskError("the task made " + std::to_string(outputs.size()) + " outputs, but " +
                      std::to_string(kind.outputs.size()) + " are declared");
    }
    detail::Writer writer(answer);
    for (std::size_t number = 0; number < outputs.size(); ++number) {
      const OutputSpec &spec = kind.outputs[number];
      const std::string what = "output " + (spec.label.empty() ? std::to_string(number) : "\"" + spec.label + "\"");
      DataInstance *instance = outputs.items_[number].get();
      if (instance == nullptr) throw TaskError(what + " was not made");
      if (instance->data_type() != spec.data_type) {
        throw TaskError(what + (instance->is_directory() ? " is a directory, but was declared as a blob"
                                                         : " is a blob, but was declared as a directory"));
      }
      workspace.write_output(writer, *instance);
    }
  };

  const auto call = [&](const detail::CallMessage &message) {
    bool done = false;
    std::optional<Context> context;
    const auto fail = [&](const std::string &text) {
      answer.clear();
      detail::AnswerInfo info;
      if (context && context->debug_) info.debug = *context->debug_;
      // An error arrives, if need be without attributes that no message can hold.
      if (context && context->info_.user.size() <= detail::kFrameBytesMax / 2 && is_json_object(context->info_.user)) info.user = context->info_.user;
      detail::append_fail(answer, message.call_id, text, info);
      std::fflush(stdout);
    };
    answer.clear();
    const auto kind_found = state_->kinds.find(message.kind_id);
    workspace.begin_call(message,
                         kind_found == state_->kinds.end() ? nullptr : kind_found->second.kind.type.c_str());
    try {
      const State::KnownKind &known = state_->known(message.kind_id);
      context.emplace(message, known.kind, workspace);
      inputs.labels_ = &known.kind.input_labels;
      outputs.declared_ = &known.kind.outputs;
      for (const detail::InputMessage &input : message.inputs) {
        const auto number = static_cast<std::uint32_t>(inputs.items_.size());
        const bool labelled = number < known.kind.input_labels.size();
        inputs.items_.push_back(std::make_unique<InputDataInstance>(
            input, number, labelled ? std::string_view(known.kind.input_labels[number]) : std::string_view(),
            workspace));
      }
      (*known.function)(*context, inputs, outputs);
      if (context->has_error()) {
        fail(*context->error_);
      } else {
        const std::string &user = context->info_.user;
        if (!user.empty()) detail::check_attributes(user);
        const std::size_t start = detail::begin_frame(answer);
        detail::append_done_head(answer, message.call_id, outputs.size());
        write_outputs(known.kind);
        detail::append_info(answer, {context->debug_ ? std::string_view(*context->debug_) : std::string_view(), user});
        detail::end_frame(answer, start);
        const std::size_t bytes = answer.size() - start - detail::kFrameHeadBytes;
        if (bytes > detail::kFrameBytesMax) {
          throw TaskError("the answer of the task has " + std::to_string(bytes) + " bytes, but at most " +
                          std::to_string(detail::kFrameBytesMax) + " can be sent: attributes or content types are too long");
        }
        done = true;
      }
    } catch (...) {
      done = false;
      fail(describe_current());
    }
    inputs.items_.clear();
    outputs.items_.clear();
    workspace.end_call(done);
    connection.send(answer);
    if (answer.capacity() > kLentAnswerBytesMax) answer = std::string();
    workspace.drop_old_inputs();
  };

  while (const std::optional<std::string_view> body = connection.receive()) {
    detail::FromGovernor message = detail::decode_from_governor(*body, std::move(lent));
    if (auto *called = std::get_if<detail::CallMessage>(&message)) {
      call(*called);
      // A list that was long once does not stay.
      if (called->inputs.capacity() <= kLentInputsMax) lent = std::move(*called);
    } else if (auto *define = std::get_if<detail::DefineMessage>(&message)) {
      state_->define(std::move(*define));
    } else if (const auto *forget = std::get_if<detail::ForgetMessage>(&message)) {
      for (const std::uint64_t kind_id : forget->kind_ids) state_->kinds.erase(kind_id);
      workspace.forget_inputs();
    }
  }
}

}  // namespace tasklib
