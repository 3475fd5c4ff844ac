// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What tbq-verify prints of a verification.
#ifndef TBQ_TOOLS_TBQ_VERIFY_REPORT_H
#define TBQ_TOOLS_TBQ_VERIFY_REPORT_H

#include "tbq/Verify.h"

#include <nlohmann/json.hpp>

namespace tbq {

/// A table of the kinds of operations, the worst layers and the logits.
std::string reportText(const mlir::tbq::VerifyReport &report);

nlohmann::json reportJson(const mlir::tbq::VerifyReport &report);

/// One line for each bound that is broken, naming layer and operation.
std::vector<std::string> brokenBounds(const mlir::tbq::VerifyReport &report);

} // namespace tbq

#endif // TBQ_TOOLS_TBQ_VERIFY_REPORT_H
