// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// RELIABILITY R33 on the test double: 100,000 random sequences of appending,
// rolling back and starting over equal a list of tokens, and so do calls that
// must be refused. Forking and saving a session do not exist.
#include "FakeArtifact.h"

#include "runtime/Session.h"

#include <algorithm>
#include <gtest/gtest.h>
#include <random>

using namespace tbq;
using namespace tbq::test;

namespace {

/// A session beside what it must hold.
class Modelled {
public:
  Modelled() {
    std::unique_ptr<Workers> workers;
    EXPECT_TRUE(createThreads(1, workers));
    auto model = openGood(FakeArtifact().write("sequence.so"));
    EXPECT_TRUE(Session::create(model, std::move(workers), 40, session));
  }

  void append(std::mt19937 &random) {
    const size_t count = 1 + random() % 12;
    std::vector<int32_t> fresh(count);
    for (int32_t &token : fresh)
      token = static_cast<int32_t>(random() % TEST_VOCAB);
    const bool all = random() % 4 == 0;
    std::vector<float> rows(all ? count * TEST_VOCAB : 0);
    Outcome ran = session->eval(fresh.data(), int64_t(count),
                                all ? rows.data() : nullptr);
    if (tokens.size() + count > size_t(session->context())) {
      ASSERT_EQ(ran.status, TBQ_ERROR_CONTEXT_FULL);
      ++refused;
      return;
    }
    ASSERT_TRUE(ran) << ran.message;
    tokens.insert(tokens.end(), fresh.begin(), fresh.end());
    hasLogits = true;
    ++appended;
    if (!all)
      return;
    std::vector<int32_t> prefix(tokens.begin(), tokens.end() - long(count) + 1);
    const std::vector<float> first = expectedLogits(prefix);
    ASSERT_TRUE(std::equal(first.begin(), first.end(), rows.begin()));
  }

  void rollback(std::mt19937 &random) {
    const auto position = int64_t(random() % (tokens.size() + 3)) - 1;
    Outcome rolled = session->rollback(position);
    if (position < 0 || position > int64_t(tokens.size())) {
      ASSERT_EQ(rolled.status, TBQ_ERROR_ARGUMENT);
      ++refused;
      return;
    }
    ASSERT_TRUE(rolled) << rolled.message;
    tokens.resize(size_t(position));
    hasLogits = false;
  }

  void check() const {
    ASSERT_EQ(session->position(), int64_t(tokens.size()));
    ASSERT_EQ(session->logits() != nullptr, hasLogits);
    if (!hasLogits)
      return;
    const std::vector<float> last = expectedLogits(tokens);
    ASSERT_TRUE(std::equal(last.begin(), last.end(), session->logits()));
  }

  void startOver() {
    ASSERT_TRUE(session->rollback(0));
    tokens.clear();
    hasLogits = false;
  }

  long appended = 0, refused = 0;

private:
  std::unique_ptr<Session> session;
  std::vector<int32_t> tokens;
  bool hasLogits = false;
};

} // namespace

TEST(SessionSequence, EqualsAListOfTokens) {
  std::mt19937 random(33);
  Modelled modelled;
  for (int sequence = 0; sequence < 100'000; ++sequence) {
    for (uint32_t steps = 1 + random() % 8; steps > 0; --steps) {
      if (random() % 3 == 0)
        modelled.rollback(random);
      else
        modelled.append(random);
      modelled.check();
      if (HasFatalFailure())
        FAIL() << "in sequence " << sequence;
    }
    if (random() % 2)
      modelled.startOver();
  }
  EXPECT_GT(modelled.appended, 100'000);
  EXPECT_GT(modelled.refused, 10'000);
}
