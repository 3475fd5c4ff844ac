// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A policy file: one rule a line, a pattern and a spec apart by spaces, first
// match wins; # begins a comment line. Errors name file and line.

#include "tbq/Compile.h"

#include "llvm/Support/LineIterator.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;

Result<std::vector<PolicyRule>> mlir::tbq::readPolicy(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer)
    return makeError(path, "", buffer.getError().message());
  std::vector<PolicyRule> policy;
  for (llvm::line_iterator line(**buffer, /*SkipBlanks=*/true, '#');
       !line.is_at_eof(); ++line) {
    auto [pattern, spec] = line->trim().split(' ');
    std::string error;
    FailureOr<PolicyRule> rule =
        parsePolicyRule((pattern + "=" + spec.trim()).str(), error);
    if (failed(rule))
      return makeError(path, "line " + std::to_string(line.line_number()),
                       error);
    policy.push_back(std::move(*rule));
  }
  return policy;
}
