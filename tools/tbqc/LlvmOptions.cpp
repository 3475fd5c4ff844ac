// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See LlvmOptions.h.

#include "LlvmOptions.h"

#include "llvm/Support/CommandLine.h"

using namespace llvm;

void removeOptions(bool all) {
  SmallVector<cl::Option *> removed;
  for (auto &entry : cl::getRegisteredOptions())
    if (all || (!entry.first.starts_with("help") && entry.first != "h" &&
                entry.first != "version"))
      removed.push_back(entry.second);
  for (cl::Option *option : removed)
    option->removeArgument();
}

std::string firstProblem(StringRef messages) {
  auto [first, rest] = messages.trim().split('\n');
  first.consume_front("tbqc: ");
  std::string line = first.split("  Try: ").first.str();
  StringRef remedy = rest.split('\n').first;
  if (remedy.consume_front("tbqc: Did you mean "))
    line += " Did you mean " + remedy.str();
  return line;
}
