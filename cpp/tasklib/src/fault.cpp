#include "fault.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <mutex>

namespace tasklib::detail {

namespace {

struct Watched {
  std::atomic<std::uintptr_t> start{0};
  std::atomic<std::uintptr_t> size{0};
  std::atomic<std::uint32_t> object_id{0};
};

// All that the handler reads is static and atomic: it may run at any instruction.
std::array<Watched, 64> watched;
std::atomic<const char *> task{nullptr};
struct sigaction previous;

void say(const char *text) {
  // Nothing can be done if this fails.
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, text, std::strlen(text));
}

void say_number(std::uint32_t number) {
  char digits[11];
  char *at = digits + sizeof digits - 1;
  *at = '\0';
  do *--at = static_cast<char>('0' + number % 10);
  while ((number /= 10) > 0);
  say(at);
}

void on_fault(int signal, siginfo_t *info, void *) {
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  if (info->si_code == SEGV_ACCERR) {
    for (const Watched &mapping : watched) {
      const std::uintptr_t start = mapping.start.load();
      if (start == 0 || address < start || address - start >= mapping.size.load()) continue;
      const char *name = task.load();
      say("task ");
      say(name != nullptr ? name : "?");
      say(" wrote to its input, which is read-only (object ");
      say_number(mapping.object_id.load());
      say(")\n");
      break;
    }
  }
  // The instruction that failed runs again and fails again, which now calls the handler from before: by default, the end of
  // the process.
  sigaction(signal, &previous, nullptr);
}

}  // namespace

void watch_faults() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, &previous);
  });
}

void set_watched_task(const char *task_type) { task.store(task_type); }

void watch_mapping(const void *data, std::size_t size, std::uint32_t object_id) {
  for (Watched &mapping : watched) {
    if (mapping.start.load() != 0) continue;
    mapping.size.store(size);
    mapping.object_id.store(object_id);
    mapping.start.store(reinterpret_cast<std::uintptr_t>(data));
    return;
  }
}

void unwatch_mapping(const void *data) {
  for (Watched &mapping : watched) {
    if (data != nullptr && mapping.start.load() == reinterpret_cast<std::uintptr_t>(data)) mapping.start.store(0);
  }
}

}  // namespace tasklib::detail
