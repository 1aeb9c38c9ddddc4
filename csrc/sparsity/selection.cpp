// lsh::toggle_: toggles exactly k entries of masks, those of lowest or highest score among the live or the dead ones.
#include <algorithm>
#include <vector>

#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/selection_op.h"

namespace lsh {

LSH_DISPATCH(SelectionTable, select_float32)
LSH_DISPATCH(SelectionTable, select_float64)
LSH_DISPATCH(SelectionTable, select_bfloat16)
LSH_DISPATCH(SelectionTable, select_random)

namespace {

const SelectionTable& kernels(ScoreType type) {
  switch (type) {
    case ScoreType::float32:
      return select_float32_table();
    case ScoreType::float64:
      return select_float64_table();
    case ScoreType::bfloat16:
      return select_bfloat16_table();
    default:
      return select_random_table();
  }
}

class Selection {
 public:
  Selection(std::vector<Scored> tensors, const Ranking& ranking, int64_t count)
      : tensors_(std::move(tensors)), ranking_(ranking), count_(count), kernels_(kernels(ranking.type)) {
    size_ = tensors_.empty() ? 0 : tensors_.back().first + tensors_.back().size;
  }

  void run() {
    bracket_ = likely_bracket();
    const int64_t most = team_size(1 + size_ / 262144);
    workers_.resize(most);
    keys_.resize(kept_before(size_, most));
    chosen_.reserve(keys_.size());
    run_team(most, [&](const Worker& worker) {
      const Range range = share(worker, size_);
      Census& census = workers_[worker.index];
      const int64_t first = kept_before(range.begin, worker.index);
      const int64_t room = kept_before(range.end, worker.index + 1) - first;
      while (!done_) {
        census = {0, 0, 0, 0, keys_.data() + first, 0, bracket_.low < bracket_.high ? room : 0};
        over(range, [&](const Scored& scored, int64_t begin, int64_t end) {
          kernels_.count(scored, ranking_, begin, end, bracket_, census);
        });
        wait_for_team(worker);
        if (worker.index == 0) narrow();
        wait_for_team(worker);
      }
      if (!possible() || count_ == 0) return;
      int64_t ties = ties_;
      for (int other = 0; other < worker.index; ++other) ties -= workers_[other].inside;
      ties = std::max<int64_t>(ties, 0);
      over(range, [&](const Scored& scored, int64_t begin, int64_t end) {
        ties = kernels_.toggle(scored, ranking_, begin, end, bracket_.low, ties);
      });
    });
  }

  int64_t eligible() const { return eligible_; }
  int64_t nans() const { return nans_; }

 private:
  // Keys that there is room for in front of an entry, which the worker of this index is the first to look at.
  static int64_t kept_before(int64_t entry, int64_t worker) { return entry / 32 + 1024 * worker; }

  bool possible() const { return nans_ == 0 && count_ <= eligible_; }

  template <class Visit>
  void over(const Range& range, const Visit& visit) const {
    for (const Scored& scored : tensors_) {
      const int64_t begin = std::max<int64_t>(range.begin - scored.first, 0);
      const int64_t end = std::min<int64_t>(range.end - scored.first, scored.size);
      if (begin < end) visit(scored, begin, end);
    }
  }

  uint64_t most() const { return ranking_.type == ScoreType::float64 ? ~uint64_t(0) : uint64_t(~uint32_t(0)); }

  // Where the key of rank `count` lies if one of many entries speaks for all. A wrong guess costs a pass.
  Bracket likely_bracket() const {
    const int64_t sample = std::min<int64_t>(size_ / 16 + 1, 65536);
    const int64_t stride = (size_ / sample) | 1;  // odd, to meet every column of even matrices
    std::vector<uint64_t> keys(size_ / stride + int64_t(tensors_.size()) + 1);
    int64_t found = 0;
    int64_t eligible = 0;
    for (const Scored& scored : tensors_) {
      found +=
          kernels_.sample(scored, ranking_, (stride - scored.first % stride) % stride, stride, keys.data() + found);
    }
    eligible = found * stride;
    if (found < 64) return {0, most()};
    const double share = std::min(1.0, double(count_) / double(eligible));
    const double rank = share * double(found), spread = 3 * __builtin_sqrt(double(found) * share * (1 - share)) + 3;
    const auto at = [&](double place) {
      const auto middle = keys.begin() + std::clamp<int64_t>(int64_t(place), 0, found - 1);
      std::nth_element(keys.begin(), middle, keys.begin() + found);
      return *middle;
    };
    const uint64_t low = rank - spread < 0 ? 0 : at(rank - spread);
    const uint64_t high = rank + spread >= double(found) ? most() : at(rank + spread);
    return {low, high};
  }

  // The next bracket to look at; done once the key of rank `count` is known.
  void narrow() {
    Census all{};
    for (const Census& census : workers_) {
      all.eligible += census.eligible;
      all.nans += census.nans;
      all.below += census.below;
      all.inside += census.inside;
      all.kept += census.kept;
    }
    eligible_ = all.eligible;
    nans_ = all.nans;
    ties_ = count_ - all.below;
    done_ = !possible() || count_ == 0;
    if (done_) return;
    if (ties_ <= 0) {
      bounds_.high = bracket_.low - 1;
      bracket_ = bounds_;
    } else if (ties_ > all.inside) {
      bounds_.low = bracket_.high + 1;
      bracket_ = bounds_;
    } else if (bracket_.low == bracket_.high) {
      done_ = true;
    } else {
      bounds_ = bracket_;
      done_ = all.kept == all.inside;
      choose_among_kept(done_ ? ties_ - 1 : all.kept / 2);
    }
  }

  // Makes the key of this rank among those kept the bracket.
  void choose_among_kept(int64_t rank) {
    chosen_.clear();
    for (const Census& census : workers_) chosen_.insert(chosen_.end(), census.keys, census.keys + census.kept);
    const auto chosen = chosen_.begin() + rank;
    std::nth_element(chosen_.begin(), chosen, chosen_.end());
    const uint64_t offset = *chosen;
    bracket_.high = bracket_.low += offset;
    ties_ -= std::count_if(chosen_.begin(), chosen, [&](uint64_t key) { return key < offset; });
    for (Census& census : workers_) census.inside = std::count(census.keys, census.keys + census.kept, offset);
  }

  const std::vector<Scored> tensors_;
  const Ranking ranking_;
  const int64_t count_;
  const SelectionTable& kernels_;
  int64_t size_ = 0;
  std::vector<Census> workers_;
  std::vector<uint64_t> keys_, chosen_;    // what workers keep, and all of it together
  Bracket bracket_{}, bounds_{0, most()};  // where to look next, and what is known to hold the key
  bool done_ = false;
  int64_t eligible_ = 0, nans_ = 0;
  int64_t ties_ = 0;  // entries with the last key that are chosen, the earliest ones
};

Tensor toggle_(std::vector<Tensor> masks, std::vector<Tensor> scores, int64_t seed, int64_t count, bool live,
               bool highest, bool magnitude) {
  std::vector<Scored> tensors = checked_selection(masks, scores, count);
  const ScoreType type = scores.empty() ? ScoreType::random : score_type(scores[0]);
  Selection selection(std::move(tensors), {type, live, highest, magnitude, uint64_t(seed)}, count);
  selection.run();
  Tensor facts = torch::stable::empty({2}, ScalarType::Long);
  facts.mutable_data_ptr<int64_t>()[0] = selection.eligible();
  facts.mutable_data_ptr<int64_t>()[1] = selection.nans();
  return facts;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def(
      "toggle_(Tensor(a!)[] masks, Tensor[] scores, int seed, int count, bool live, bool highest, bool magnitude) -> "
      "Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("toggle_", TORCH_BOX(&toggle_)); }

}  // namespace lsh
