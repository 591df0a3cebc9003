/// Says what happened when a task writes to the read-only mapping of an input, before the process dies of it.
#pragma once

#include <cstdint>
#include <string_view>

namespace tasklib::detail {

/// Catches SIGSEGV from now on: says what happened, then calls the previous handler. Done once a process.
void watch_faults();
/// The task that runs now; the text must stay.
void set_watched_task(const char *task_type);
/// A mapping that must not be written. If there are too many, some are not watched.
void watch_mapping(const void *data, std::size_t size, std::uint32_t object_id);
void unwatch_mapping(const void *data);

}  // namespace tasklib::detail
