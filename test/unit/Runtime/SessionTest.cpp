// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A session gives the same logits however tokens are divided, asks steps only
// for the rows it needs, refuses what does not fit and changes nothing then.
#include "FakeArtifact.h"

#include "runtime/Session.h"

#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;

namespace {

const std::vector<int32_t> text = {3, 1, 4, 1,  5, 9, 2, 6, 5, 3, 5,
                                   8, 9, 7, 14, 0, 2, 3, 8, 4, 6};

std::unique_ptr<Session> newSession(int64_t threads = 2, int64_t context = 0,
                                    int64_t sequences = 1) {
  static auto model = openGood(FakeArtifact().write("session.so"));
  std::unique_ptr<Workers> workers;
  EXPECT_TRUE(createThreads(threads, workers));
  std::unique_ptr<Session> session;
  EXPECT_TRUE(
      Session::create(model, std::move(workers), context, session, sequences));
  return session;
}

std::vector<float> lastRow(const Session &session) {
  return {session.logits(), session.logits() + TEST_VOCAB};
}

std::vector<int32_t> prefix(size_t count) {
  return {text.begin(), text.begin() + static_cast<long>(count)};
}

/// The rows of logits that the steps have written, as the test double shows it.
float rowsWritten(const Session &session) {
  return session.logits()[TEST_VOCAB];
}

} // namespace

TEST(Session, AnyDivisionGivesTheSameLogits) {
  for (int64_t threads : {1, 2, 3})
    for (size_t piece : {1, 2, 7, 8, 9, 16, 21}) {
      auto session = newSession(threads);
      for (size_t at = 0; at < text.size(); at += piece) {
        size_t count = std::min(piece, text.size() - at);
        ASSERT_TRUE(session->eval(text.data() + at, int64_t(count)));
        EXPECT_EQ(session->position(), int64_t(at + count));
        EXPECT_EQ(lastRow(*session), expectedLogits(prefix(at + count)))
            << threads << " threads, pieces of " << piece << ", at " << at;
      }
    }
}

TEST(Session, AllRows) {
  for (size_t piece : {1, 5, 8, 21}) {
    auto session = newSession();
    std::vector<float> rows(text.size() * TEST_VOCAB);
    for (size_t at = 0; at < text.size(); at += piece) {
      size_t count = std::min(piece, text.size() - at);
      ASSERT_TRUE(session->eval(text.data() + at, int64_t(count),
                                rows.data() + at * TEST_VOCAB));
    }
    for (size_t i = 0; i < text.size(); ++i) {
      std::vector<float> row(rows.begin() + long(i * TEST_VOCAB),
                             rows.begin() + long((i + 1) * TEST_VOCAB));
      EXPECT_EQ(row, expectedLogits(prefix(i + 1))) << i;
    }
    EXPECT_EQ(lastRow(*session), expectedLogits(text));
  }
}

TEST(Session, ComputesOnlyTheRowsAskedFor) {
  auto session = newSession();
  ASSERT_TRUE(session->eval(text.data(), 20)); // chunks of 8, 8 and 4
  EXPECT_EQ(rowsWritten(*session), 1);
  ASSERT_TRUE(session->eval(text.data(), 16));
  EXPECT_EQ(rowsWritten(*session), 2);
  std::vector<float> rows(10 * TEST_VOCAB);
  ASSERT_TRUE(session->eval(text.data(), 10, rows.data()));
  EXPECT_EQ(rowsWritten(*session), 12);
}

TEST(Session, FullContextIsATypedErrorAndChangesNothing) {
  auto session = newSession(1, 20);
  EXPECT_EQ(session->context(), 20);
  Outcome tooLong = session->eval(text.data(), 21);
  EXPECT_EQ(tooLong.status, TBQ_ERROR_CONTEXT_FULL);
  EXPECT_EQ(session->position(), 0);
  EXPECT_EQ(session->logits(), nullptr);
  ASSERT_TRUE(session->eval(text.data(), 19));
  tooLong = session->eval(text.data() + 19, 2);
  EXPECT_EQ(tooLong.status, TBQ_ERROR_CONTEXT_FULL);
  EXPECT_EQ(tooLong.message,
            "context: 2 tokens do not fit: 19 of 20 are taken");
  EXPECT_EQ(session->position(), 19);
  EXPECT_EQ(lastRow(*session), expectedLogits(prefix(19)));
  ASSERT_TRUE(session->eval(text.data() + 19, 1));
  EXPECT_EQ(lastRow(*session), expectedLogits(prefix(20)));
  EXPECT_EQ(session->eval(text.data(), 1).status, TBQ_ERROR_CONTEXT_FULL);
}

TEST(Session, ModelContextIsTheLimit) {
  auto session = newSession(1);
  std::vector<int32_t> tokens(TEST_CONTEXT, 1);
  ASSERT_TRUE(session->eval(tokens.data(), TEST_CONTEXT));
  EXPECT_EQ(lastRow(*session), expectedLogits(tokens));
  EXPECT_EQ(session->eval(tokens.data(), 1).status, TBQ_ERROR_CONTEXT_FULL);
  auto model = openGood(FakeArtifact().write("context.so"));
  for (int64_t context : {-1, TEST_CONTEXT + 1}) {
    std::unique_ptr<Workers> workers;
    ASSERT_TRUE(createThreads(1, workers));
    std::unique_ptr<Session> refused;
    Outcome created =
        Session::create(model, std::move(workers), context, refused);
    EXPECT_EQ(created.status, TBQ_ERROR_ARGUMENT);
    EXPECT_EQ(refused, nullptr);
  }
}

TEST(Session, TokensAreChecked) {
  auto session = newSession();
  for (int32_t bad : {-1, int(TEST_VOCAB), INT32_MAX}) {
    std::vector<int32_t> tokens = {1, 2, bad};
    Outcome refused = session->eval(tokens.data(), 3);
    EXPECT_EQ(refused.status, TBQ_ERROR_ARGUMENT);
    EXPECT_EQ(refused.message, "tokens[2]: must be in [0, 15) (got " +
                                   std::to_string(bad) + ")");
    EXPECT_EQ(session->position(), 0);
  }
  EXPECT_EQ(session->eval(text.data(), 0).status, TBQ_ERROR_ARGUMENT);
  EXPECT_EQ(session->eval(text.data(), -5).status, TBQ_ERROR_ARGUMENT);
}

TEST(Session, Rollback) {
  auto session = newSession();
  ASSERT_TRUE(session->eval(text.data(), 21));
  EXPECT_EQ(session->rollback(22).status, TBQ_ERROR_ARGUMENT);
  EXPECT_EQ(session->rollback(-1).status, TBQ_ERROR_ARGUMENT);
  EXPECT_NE(session->logits(), nullptr);
  ASSERT_TRUE(session->rollback(6));
  EXPECT_EQ(session->logits(), nullptr);
  EXPECT_EQ(session->position(), 6);
  std::vector<int32_t> other = prefix(6);
  other.insert(other.end(), {14, 13, 12});
  ASSERT_TRUE(session->eval(other.data() + 6, 3));
  EXPECT_EQ(lastRow(*session), expectedLogits(other));
  ASSERT_TRUE(session->rollback(0));
  ASSERT_TRUE(session->eval(text.data(), 2));
  EXPECT_EQ(lastRow(*session), expectedLogits(prefix(2)));
}

/// Fewer sequences than the model says go one after the other, through decode.
TEST(Session, FewSequencesAreDecodedOneByOne) {
  struct Recording : Workers {
    std::unique_ptr<Workers> threads;
    std::vector<int64_t> &counts;
    explicit Recording(std::vector<int64_t> &counts) : counts(counts) {
      EXPECT_TRUE(createThreads(2, threads));
    }
    int64_t count() const override { return threads->count(); }
    Outcome run(const StepCall &call) override {
      counts.push_back(call.places ? call.count : -call.count);
      return threads->run(call);
    }
  };
  FakeArtifact artifact;
  artifact.editManifest = [](Manifest &m) { m.steps.batchFrom = 3; };
  std::vector<int64_t> counts;
  std::unique_ptr<Session> session;
  ASSERT_TRUE(Session::create(openGood(artifact.write("few.so")),
                              std::make_unique<Recording>(counts), 0, session,
                              /*sequences=*/3));
  const std::vector<int32_t> numbers = {2, 0, 1};
  for (int64_t length = 1; length <= 3; ++length) {
    for (int32_t number : numbers) {
      ASSERT_TRUE(session->select(number));
      ASSERT_TRUE(session->rollback(0));
    }
    counts.clear();
    std::vector<float> rows(size_t(length) * TEST_VOCAB);
    ASSERT_TRUE(
        session->evalBatch(numbers.data(), text.data(), length, rows.data()));
    EXPECT_EQ(counts, length < 3 ? std::vector<int64_t>(size_t(length), -1)
                                 : std::vector<int64_t>{3});
    for (int64_t i = 0; i < length; ++i) {
      ASSERT_TRUE(session->select(numbers[size_t(i)]));
      EXPECT_EQ(session->position(), 1);
      EXPECT_EQ(lastRow(*session), expectedLogits({text[size_t(i)]}));
      auto begin = rows.begin() + i * TEST_VOCAB;
      EXPECT_EQ(std::vector<float>(begin, begin + TEST_VOCAB),
                expectedLogits({text[size_t(i)]}));
    }
  }
}

/// Each token of a batch goes to a sequence of its own, in any order, whatever
/// the others hold; their logits stay until the next step.
TEST(Session, BatchAppendsToEachOfItsSequences) {
  auto session = newSession(2, 20, 3);
  EXPECT_EQ(session->sequenceCount(), 3);
  std::vector<std::vector<int32_t>> held = {prefix(5), {}, prefix(9)};
  for (int32_t i : {0, 2}) {
    ASSERT_TRUE(session->select(i));
    ASSERT_TRUE(
        session->eval(held[size_t(i)].data(), int64_t(held[size_t(i)].size())));
  }
  const std::vector<std::vector<int32_t>> steps = {
      {2, 0, 1}, {1, 2}, {0}, {0, 1, 2}, {1}};
  int32_t next = 3;
  for (const std::vector<int32_t> &numbers : steps) {
    std::vector<int32_t> tokens;
    for (int32_t number : numbers) {
      next = (next * 7 + 1) % TEST_VOCAB;
      tokens.push_back(next);
      held[size_t(number)].push_back(next);
    }
    std::vector<float> rows(numbers.size() * TEST_VOCAB);
    ASSERT_TRUE(session->evalBatch(numbers.data(), tokens.data(),
                                   int64_t(numbers.size()), rows.data()));
    for (int32_t number = 0; number < 3; ++number) {
      ASSERT_TRUE(session->select(number));
      const std::vector<int32_t> &text = held[size_t(number)];
      EXPECT_EQ(session->position(), int64_t(text.size()));
      auto row = std::find(numbers.begin(), numbers.end(), number);
      if (row == numbers.end()) {
        EXPECT_EQ(session->logits(), nullptr);
        continue;
      }
      EXPECT_EQ(lastRow(*session), expectedLogits(text));
      auto begin = rows.begin() + (row - numbers.begin()) * TEST_VOCAB;
      EXPECT_EQ(std::vector<float>(begin, begin + TEST_VOCAB),
                expectedLogits(text));
    }
  }
  ASSERT_TRUE(session->select(2));
  ASSERT_TRUE(session->rollback(9));
  ASSERT_TRUE(session->eval(text.data() + 9, 4));
  EXPECT_EQ(lastRow(*session), expectedLogits(prefix(13)));
}

TEST(Session, BatchesAreChecked) {
  auto session = newSession(1, 4, 3);
  ASSERT_TRUE(session->select(1));
  ASSERT_TRUE(session->eval(text.data(), 4));
  const struct {
    std::vector<int32_t> numbers, tokens;
    tbq_status status;
    const char *message;
  } wrong[] = {{{},
                {},
                TBQ_ERROR_ARGUMENT,
                "count: must be 1 to the session's 3 sequences (got 0)"},
               {{0, 1, 2, 0},
                {1, 1, 1, 1},
                TBQ_ERROR_ARGUMENT,
                "count: must be 1 to the session's 3 sequences (got 4)"},
               {{0, 3},
                {1, 1},
                TBQ_ERROR_ARGUMENT,
                "sequences[1]: must be in [0, 3) (got 3)"},
               {{2, 0, 2},
                {1, 1, 1},
                TBQ_ERROR_ARGUMENT,
                "sequences[2]: is 2 again: a step appends one token to each"},
               {{0, 2},
                {1, TEST_VOCAB},
                TBQ_ERROR_ARGUMENT,
                "tokens[1]: must be in [0, 15) (got 15)"},
               {{0, 1},
                {1, 1},
                TBQ_ERROR_CONTEXT_FULL,
                "sequences[1]: 1 token does not fit: 4 of 4 are taken"}};
  for (const auto &batch : wrong) {
    Outcome refused =
        session->evalBatch(batch.numbers.data(), batch.tokens.data(),
                           int64_t(batch.numbers.size()));
    EXPECT_EQ(refused.status, batch.status);
    EXPECT_EQ(refused.message, batch.message);
    EXPECT_NE(session->logits(), nullptr);
  }
  for (int64_t number : {-1, 3})
    EXPECT_EQ(session->select(number).status, TBQ_ERROR_ARGUMENT);
  ASSERT_TRUE(session->select(0));
  EXPECT_EQ(session->position(), 0);
  std::unique_ptr<Workers> workers;
  ASSERT_TRUE(createThreads(1, workers));
  std::unique_ptr<Session> refused;
  Outcome created =
      Session::create(openGood(FakeArtifact().write("sequences.so")),
                      std::move(workers), 0, refused, TEST_BATCH + 1);
  EXPECT_EQ(created.message, "sequences: must be 1 to 3, which the model was "
                             "compiled for (got 4)");
}

TEST(ZeroPages, AreZeroAlignedAndGuarded) {
  constexpr uint64_t hugePage = 2 << 20;
  for (uint64_t bytes : {1ul, 64ul, 100ul, 4096ul, 5000ul, hugePage - 1,
                         hugePage, hugePage + 1, 5 * hugePage + 4096}) {
    ZeroPages pages;
    ASSERT_TRUE(ZeroPages::create(bytes, "test", pages));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data()) % 64, 0u);
    for (uint64_t i = 0; i < bytes; ++i)
      ASSERT_EQ(pages.data()[i], 0);
    uint64_t end = (bytes + 63) / 64 * 64;
    pages.data()[end - 1] = 1;
    EXPECT_DEATH(pages.data()[end] = 1, "");
    pages.data()[0] = 1;
    pages.useHugePages(0, bytes);
    EXPECT_EQ(pages.data()[0], 1);
    EXPECT_EQ(pages.data()[end - 1], 1);
    EXPECT_DEATH(pages.data()[end] = 1, "");
    if (bytes >= hugePage)
      EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data() + end) % hugePage, 0u);
  }
  ZeroPages pages;
  Outcome tooMuch = ZeroPages::create(UINT64_MAX - 5, "test", pages);
  EXPECT_EQ(tooMuch.status, TBQ_ERROR_MEMORY);
  EXPECT_NE(tooMuch.message.find("test: cannot get"), std::string::npos);
}
