/// Whole files.
#pragma once

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "check.h"

inline std::string read_file(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  CHECK(file.good());
  std::ostringstream content;
  content << file.rdbuf();
  return content.str();
}

inline void write_file(const std::filesystem::path &path, const std::string &content) {
  std::ofstream(path, std::ios::binary) << content;
}
