// The names of the cells, for what is there for each of them: LSH_EVERY_CELL(DO) says DO(name, Cell) for every one.
#pragma once

#define LSH_EVERY_CELL(DO) \
  DO(elman, Elman)         \
  DO(gru, Gru)             \
  DO(lstm, Lstm)           \
  DO(rhn, Rhn<true>)       \
  DO(free_rhn, Rhn<false>)
