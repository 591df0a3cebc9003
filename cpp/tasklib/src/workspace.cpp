#include "workspace.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "fault.h"
#include "tasklib/error.h"

namespace tasklib::detail {

namespace fs = std::filesystem;

namespace {

void remove_quietly(const std::string &path) {
  // What cannot be removed now goes with the directory of the executor.
  std::error_code ignored;
  fs::remove_all(path, ignored);
}

}  // namespace

Workspace::Workspace(const fs::path &directory) : directory_(fs::canonical(directory).string()) {}

Workspace::~Workspace() {
  forget_inputs();
  end_call(false);
}

void Workspace::begin_call(const CallMessage &call, const char *task_type) {
  call_ = &call;
  inline_bytes_ = 0;
  mapped_in_call_ = false;
  ++calls_;
  set_watched_task(task_type);
}

void Workspace::end_call(bool outputs_were_taken) {
  for (const auto &[path, taken] : made_) {
    if (!taken || !outputs_were_taken) remove_quietly(path);
  }
  made_.clear();
  input_files_.clear();
  aligned_copies_.clear();
  input_paths_.reset();
  call_ = nullptr;
  set_watched_task(nullptr);
}

void Workspace::drop_old_inputs() {
  // The next task often reads the same large inputs, so the last ones stay.
  if (!mapped_in_call_) return;
  mapped_in_call_ = false;
  drop_inputs([](const Input &input, std::uint64_t call) { return input.used_in_call == call; }, calls_);
}

std::string Workspace::make_path() {
  std::string path = directory_ + "/out-" + std::to_string(++paths_);
  made_.emplace(path, false);
  return path;
}

std::string Workspace::new_path() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return make_path();
}

std::string Workspace::write_file(std::string_view content) {
  std::string path = new_path();
  make_file(path, content, 0600);
  return path;
}

std::string Workspace::input_file(std::uint32_t number, std::string_view content) {
  const std::lock_guard<std::mutex> lock(mutex_);
  std::string &path = input_files_[number];
  if (path.empty()) {
    const std::string made = make_path();
    // As files of large inputs are: not to be written.
    make_file(made, content, 0400);
    path = made;
  }
  return path;
}

void Workspace::make_file(const std::string &path, std::string_view content, unsigned mode) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) throw_errno("cannot make", path);
  while (!content.empty()) {
    const ssize_t written = write(fd, content.data(), content.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      close(fd);
      errno = error;
      throw_errno("cannot write", path);
    }
    content.remove_prefix(static_cast<std::size_t>(written));
  }
  close(fd);
}

std::optional<std::uint32_t> Workspace::input_at(const std::string &real_path) {
  for (const auto &[number, path] : input_files_) {
    if (path == real_path) return number;
  }
  if (!input_paths_) {
    input_paths_.emplace();
    std::uint32_t number = 0;
    for (const InputMessage &input : call_->inputs) {
      std::error_code error;
      if (!input.content) input_paths_->emplace(fs::canonical(input.path, error).string(), number);
      ++number;
    }
  }
  const auto found = input_paths_->find(real_path);
  if (found == input_paths_->end()) return std::nullopt;
  return found->second;
}

void Workspace::write_path(Writer &writer, const fs::path &path) {
  std::error_code error;
  const std::string real = fs::canonical(path, error).string();
  if (error) throw TaskError("output " + path.string() + ": " + error.message());
  if (const std::optional<std::uint32_t> number = input_at(real)) {
    const std::optional<std::string_view> content = call_->inputs[*number].content;
    // Who could write to it nevertheless has to hear that the change is lost.
    if (content && FileMapping(real, FileMapping::Access::read).view() != *content) {
      throw TaskError("input " + std::to_string(*number) + " was written to at " + real +
                      ": write to a copy and make that the output");
    }
    return writer.uint(*number);
  }
  const bool inside = real.size() > directory_.size() && real.compare(0, directory_.size(), directory_) == 0 &&
                      real[directory_.size()] == '/';
  if (!inside) {
    throw TaskError("output " + real + " is not inside of " + directory_ +
                    ", and only what is in there is moved away: copy it to ctx.new_path() and make that the output");
  }
  made_[real] = true;
  writer.text(real);
}

void Workspace::write_content(Writer &writer, std::string_view content) {
  if (content.size() <= kInlineBytesMax && inline_bytes_ + content.size() <= kInlineBytesPerAnswerMax) {
    inline_bytes_ += content.size();
    return writer.binary(content);
  }
  const std::string path = write_file(content);
  made_[path] = true;
  writer.text(path);
}

std::string_view Workspace::map_input(const std::string &path, std::uint32_t object_id) {
  const std::uint32_t session_id = call_->session_id;
  const std::lock_guard<std::mutex> lock(mutex_);
  for (Input &input : inputs_) {
    if (input.object_id == object_id && input.session_id == session_id && input.path == path) {
      input.used_in_call = calls_;
      return input.mapping->view();
    }
  }
  auto mapping = std::make_unique<FileMapping>(path, FileMapping::Access::read);
  mapped_in_call_ = true;
  const std::string_view view = mapping->view();
  inputs_.push_back({path, session_id, object_id, calls_, std::move(mapping)});
  watch_mapping(view.data(), view.size(), object_id);
  return view;
}

void Workspace::drop_inputs(bool (*stays)(const Input &, std::uint64_t), std::uint64_t call) {
  const auto end = std::stable_partition(inputs_.begin(), inputs_.end(),
                                         [&](const Input &input) { return stays(input, call); });
  for (auto input = end; input != inputs_.end(); ++input) unwatch_mapping(input->mapping->data());
  inputs_.erase(end, inputs_.end());
}

void Workspace::forget_inputs() {
  drop_inputs([](const Input &, std::uint64_t) { return false; }, calls_);
}

void Workspace::write_output(Writer &writer, DataInstance &instance) {
  writer.array(3);
  instance.write_source(writer, *this);
}

}  // namespace tasklib::detail
