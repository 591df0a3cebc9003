#include "tasklib/context.h"

#include <fstream>

#include "messages.h"
#include "workspace.h"

namespace tasklib {

namespace {

std::string counted(std::size_t count, const char *what) {
  return std::to_string(count) + " " + what + (count == 1 ? "" : "s");
}

}  // namespace

Context::Context(const detail::CallMessage &call, const detail::Kind &kind, detail::Workspace &workspace)
    : call_(call), kind_(kind), workspace_(workspace) {
  info_.governor = call.governor;
}

bool Context::check_n_args(std::size_t count) {
  const std::size_t given = call_.inputs.size();
  if (given == count) return true;
  set_error(kind_.type + " takes " + counted(count, "input") + ", but was given " + std::to_string(given));
  return false;
}

bool Context::check_n_outputs(std::size_t count) {
  const std::size_t declared = kind_.outputs.size();
  if (declared == count) return true;
  set_error(kind_.type + " makes " + counted(count, "output") + ", but " + std::to_string(declared) +
            (declared == 1 ? " is" : " are") + " declared");
  return false;
}

void Context::set_error(std::string message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  error_ = std::move(message);
}

bool Context::has_error() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return error_.has_value();
}

const TaskSpec &Context::spec() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!spec_) {
    spec_ = TaskSpec{call_.session_id,       call_.task_id,      kind_.type,    kind_.name,
                     kind_.cpus,             std::string(call_.user), kind_.input_labels, kind_.outputs,
                     call_.first_output_id};
  }
  return *spec_;
}

const Value &Context::config() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!config_) {
    const std::string_view bytes = call_.config.value_or(kind_.config);
    config_ = bytes.empty() ? Value() : Value::decode(bytes);
  }
  return *config_;
}

void Context::add_debug(std::string_view line) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (debug_is_full_) return;
  std::string text = debug_ ? "\n" : "";
  text += line;
  if (!debug_) debug_.emplace();
  debug_is_full_ = !detail::append_bounded(*debug_, text, "\n[further debug messages are left out]");
}

std::unique_ptr<FileDataInstance> Context::create_file(std::size_t size, std::string content_type) {
  const std::string path = workspace_.write_file({});
  auto file = std::make_unique<FileDataInstance>(path, std::move(content_type));
  if (size > 0) file->resize(size);
  return file;
}

std::unique_ptr<DirectoryDataInstance> Context::create_directory() {
  const std::string path = workspace_.new_path();
  std::filesystem::create_directory(path);
  return std::make_unique<DirectoryDataInstance>(path);
}

std::filesystem::path Context::new_path() { return workspace_.new_path(); }

}  // namespace tasklib
