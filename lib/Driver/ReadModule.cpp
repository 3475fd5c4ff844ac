// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: a file of MLIR text. Output: a verified module.
// Invariant: what MLIR's recursive parser gets is text whose brackets nest at
// most kNestingLimit deep, so that no file can exhaust the stack.

#include "Diagnostics.h"

#include "tbq/Compile.h"

#include "format/MappedFile.h"

#include "mlir/Parser/Parser.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;

static constexpr uint64_t kSizeLimit = uint64_t(256) << 20;
static constexpr unsigned kNestingLimit = 200;

/// The line where brackets, or signs before a number or name, nest too deep;
/// 0 if nowhere. Strings and comments do not count.
static unsigned findDeepNesting(StringRef text) {
  unsigned depth = 0, signs = 0, line = 1;
  for (size_t at = 0; at < text.size(); ++at) {
    char character = text[at];
    if (character == '\n')
      ++line;
    if (character == '"') {
      for (++at; at < text.size() && text[at] != '"' && text[at] != '\n'; ++at)
        if (text[at] == '\\')
          ++at;
    } else if (text.substr(at).starts_with("//")) {
      at = std::min(text.find('\n', at), text.size()) - 1;
    } else if (text.substr(at).starts_with("->")) {
      ++at;
    } else if (StringRef("([{<").contains(character)) {
      ++depth;
    } else if (StringRef(")]}>").contains(character)) {
      depth -= depth > 0;
    }
    signs = character == '-' ? signs + 1 : isspace(character) ? signs : 0;
    if (depth > kNestingLimit || signs > kNestingLimit)
      return line;
  }
  return 0;
}

Result<OwningOpRef<ModuleOp>> mlir::tbq::readModule(MLIRContext &context,
                                                    const std::string &path) {
  Result<::tbq::FileDescriptor> file = ::tbq::openForReading(path);
  if (!file)
    return file.error();
  Result<std::string> text =
      ::tbq::readWholeFile(file->get(), path, kSizeLimit);
  if (!text)
    return text.error();
  if (StringRef(*text).contains('\0') ||
      StringRef(*text).starts_with("ML\xefR"))
    return makeError(path, "", "not text (MLIR bytecode is not read)");
  if (unsigned line = findDeepNesting(*text))
    return makeError(path, std::to_string(line),
                     "brackets nest deeper than " +
                         std::to_string(kNestingLimit));
  FirstError errors(context);
  OwningOpRef<ModuleOp> module =
      parseSourceString<ModuleOp>(*text, ParserConfig(&context), path);
  if (!module)
    return errors.take(path);
  return module;
}
