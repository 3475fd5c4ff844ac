// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A text's tokens cut into windows, and a model that reads them.
// Invariant: a window is read without any other before it, and its logits are
// handed out a few rows at a time, so a large vocabulary takes little memory.
#ifndef TBQ_TOOLS_TBQPPL_WINDOWS_H
#define TBQ_TOOLS_TBQPPL_WINDOWS_H

#include "Handles.h"
#include "Scores.h"

#include <string>
#include <string_view>
#include <vector>

namespace tbq {

/// The text as one sequence, with the tokens that the model puts around it. No
/// text stands for a special token: it is text that is measured.
std::vector<int32_t> tokenizeText(const tbq_model *model,
                                  std::string_view text);

/// The token that the model puts in front of a text, or -1 if it puts none (it
/// may have one all the same, which starts a chat).
int32_t addedFirstToken(const tbq_model *model);

/// A loaded model, a session of one window, and the last rows of logits.
class Reader {
public:
  Reader(std::string path, int32_t window, int32_t threads);

  const tbq_model *get() const { return model.get(); }
  const std::string &path() const { return file; }

  /// Starts over with these tokens; their logits are of no interest.
  void begin(const int32_t *tokens, size_t count);
  /// Appends tokens and keeps the logits after each.
  void append(const int32_t *tokens, size_t count);
  /// Those after the token `row` of the last append. Fails if they are none.
  LogProbabilities row(size_t row) const;

private:
  std::string file;
  ModelHandle model;
  SessionHandle session;
  std::vector<float> rows;
};

/// Scores the second half of one window of `tokens.size()`: each token after
/// the middle one, given all before it. `other` may be null.
void scoreWindow(std::vector<int32_t> tokens, Reader &model, Reader *other,
                 Scores &scores);

} // namespace tbq

#endif // TBQ_TOOLS_TBQPPL_WINDOWS_H
