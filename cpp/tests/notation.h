/// Values in one line, as tests/golden/index.tsv has them.
#pragma once

#include <tasklib/json.h>
#include <tasklib/value.h>

#include <cstdio>
#include <string>

inline std::string notation(const tasklib::Value &value) {
  using tasklib::Value;
  struct Show {
    std::string operator()(std::monostate) const { return "null"; }
    std::string operator()(bool b) const { return b ? "true" : "false"; }
    std::string operator()(std::uint64_t n) const { return std::to_string(n); }
    std::string operator()(std::int64_t n) const { return std::to_string(n); }
    std::string operator()(double n) const { return std::to_string(n); }
    std::string operator()(const std::string &text) const { return tasklib::json_quote(text); }
    std::string operator()(const Value::Binary &binary) const {
      std::string text = "h'";
      for (const unsigned char byte : binary.bytes) {
        char digits[3];
        std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
        text += digits;
      }
      return text + "'";
    }
    std::string operator()(const Value::List &list) const {
      std::string text;
      for (const Value &item : list) text += (text.empty() ? "" : ", ") + notation(item);
      return "[" + text + "]";
    }
    std::string operator()(const Value::Map &map) const {
      std::string text;
      for (const auto &[key, item] : map) text += (text.empty() ? "" : ", ") + notation(key) + ": " + notation(item);
      return "{" + text + "}";
    }
  };
  return std::visit(Show{}, value.content());
}
