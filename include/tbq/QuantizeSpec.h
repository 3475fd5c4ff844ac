// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is asked of post-training quantisation: for one linear a scheme and its
// group, for a model a policy of rules by name.
#ifndef TBQ_QUANTIZESPEC_H
#define TBQ_QUANTIZESPEC_H

#include "tbq/IR/Tbq.h"

#include "format/NamePattern.h"

#include "mlir/IR/BuiltinOps.h"

#include <optional>
#include <string>

namespace mlir::tbq {

struct QuantizeSpec {
  std::optional<Scheme> scheme; // none: stays float
  int64_t group = 0;            // columns that share coefficients; 0: the row
  double salient = 0;           // fraction of binary weights kept in 8 bits
};

/// Reads "SCHEME:gN" or "SCHEME:row" with SCHEME ternary, binary or
/// dual-binary, or "float"; after binary's group perhaps ",salient=R" with
/// 0 <= R <= 0.5. On failure `error` says what is wrong.
FailureOr<QuantizeSpec> parseQuantizeSpec(llvm::StringRef spec,
                                          std::string &error);

/// Reads what the embedding and the head become: "SCHEME:gN" or "SCHEME:row"
/// with SCHEME int8 or int4, or "float".
FailureOr<QuantizeSpec> parseEmbeddingSpec(llvm::StringRef spec,
                                           std::string &error);

/// One line of a policy: linears whose whole name a regular expression
/// matches ("model\.layers\.[0-9]+\.mlp\..*") become what the spec says.
struct PolicyRule {
  std::string text; // PATTERN=SPEC
  std::string pattern;
  QuantizeSpec spec;
  std::shared_ptr<const ::tbq::NamePattern> matcher;

  /// Of a name that checkPolicy has tried.
  bool matches(llvm::StringRef name) const;
};

/// Reads "PATTERN=SPEC".
FailureOr<PolicyRule> parsePolicyRule(llvm::StringRef rule, std::string &error);

/// The linear's name in the checkpoint, or "" for one whose weight is no float
/// tensor of it or that lies outside the decoder layers.
llvm::StringRef getQuantizableName(LinearOp op);

/// Every pattern must match a linear of the module, and none may take too long
/// on any. Errors name the pattern.
::tbq::Status checkPolicy(Operation *module, llvm::ArrayRef<PolicyRule> policy);

} // namespace mlir::tbq

#endif // TBQ_QUANTIZESPEC_H
