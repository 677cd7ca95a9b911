// The attribute 'program', read.
#pragma once

#include <stdexcept>
#include <string>

#include "elementwise.h"
#include "ops/node.h"

namespace onnxbf {

inline Program read_program(const std::string& text) {
  try {
    return parse_program(text);
  } catch (const std::invalid_argument& error) {
    throw ort::Error("attribute 'program': " + std::string(error.what()) + ".");
  }
}

}  // namespace onnxbf
