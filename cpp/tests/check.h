/// What the tests check with: a failed check says where and what, and the program ends with 1.
#pragma once

#include <cstdlib>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace check {

/// The start of a text that may be long.
inline std::string shortened(std::string_view text) {
  constexpr std::size_t kShownMax = 1000;
  return std::string(text.substr(0, kShownMax)) + (text.size() > kShownMax ? "..." : "");
}

[[noreturn]] inline void fail(const char *file, int line, const std::string &what) {
  std::cerr << file << ":" << line << ": " << shortened(what) << std::endl;
  std::exit(1);
}

template <class A, class B>
void equal(const A &a, const B &b, const char *text, const char *file, int line) {
  if (a == b) return;
  std::ostringstream what;
  what << text << ": " << a << " is not " << b;
  fail(file, line, what.str());
}

inline void contains(std::string_view text, std::string_view part, const char *file, int line) {
  if (text.find(part) != std::string_view::npos) return;
  fail(file, line, "\"" + std::string(part) + "\" is not in \"" + std::string(text) + "\"");
}

/// The text of the exception that `action` throws; empty if it throws none.
template <class Error>
std::string thrown(const std::function<void()> &action) {
  try {
    action();
  } catch (const Error &error) {
    return error.what();
  }
  return {};
}

}  // namespace check

#define CHECK(condition) \
  do { \
    if (!(condition)) check::fail(__FILE__, __LINE__, #condition); \
  } while (false)
#define CHECK_EQUAL(a, b) check::equal((a), (b), #a, __FILE__, __LINE__)
#define CHECK_CONTAINS(text, part) check::contains((text), (part), __FILE__, __LINE__)
#define CHECK_THROWS(Error, action, part) check::contains(check::thrown<Error>([&] { action; }), (part), __FILE__, __LINE__)
