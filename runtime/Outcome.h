// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the runtime's calls return: a status of runtime/tbq.h and, unless it is
// TBQ_OK, one line that names the file or argument, the field and the value.
// Invariant: success carries no message, so that returning it allocates
// nothing.
#ifndef TBQ_RUNTIME_OUTCOME_H
#define TBQ_RUNTIME_OUTCOME_H

#include "format/Result.h"
#include "runtime/tbq.h"

namespace tbq {

struct [[nodiscard]] Outcome {
  tbq_status status;
  std::string message;

  static Outcome ok() { return {TBQ_OK, {}}; }
  static Outcome failure(tbq_status status, const Error &error) {
    return {status, error.message};
  }
  static Outcome failure(tbq_status status, std::string_view field,
                         std::string_view detail) {
    return failure(status, makeError("", field, detail));
  }
  explicit operator bool() const { return status == TBQ_OK; }
};

} // namespace tbq

#endif // TBQ_RUNTIME_OUTCOME_H
