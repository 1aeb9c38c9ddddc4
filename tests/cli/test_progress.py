"""Progress: an event is a line, whatever its length and whatever is in it."""

from lsh_native.cli.progress import Progress
from lsh_native.search.events import TrialLost
from lsh_native.search.trial import State, Trial


def test_an_event_is_one_line_where_there_is_no_terminal(capsys):
    reason = "the loss of [bold]step 17[/bold] is nan, " + "and nobody knows why, " * 10
    trial = Trial(number=3, candidate=None, seed=0, state=State.DIVERGED, reason=reason)
    with Progress() as progress:
        progress.on_event(TrialLost(trial=trial))
        progress.say("a [red]folder[/red]")
    lost, said, *rest = capsys.readouterr().out.splitlines()
    assert lost.endswith(f"trial 3: diverged: {reason}")
    assert said == "a [red]folder[/red]"
    assert not rest
