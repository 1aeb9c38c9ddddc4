"""Peak memory of the loss of a mixture of softmaxes: `python -m bench.training.loss_memory`.

Each form runs in a process of its own, whose largest resident size is read from the system.
"""

import resource
import subprocess
import sys

import torch

from lsh_native.nn import MixtureOfSoftmaxes, mean_loss

V, K, E, H, N = 33_278, 15, 300, 650, 350  # WikiText-2, 5 columns of 70 steps


def peak(form: str) -> None:
    """Runs one form and prints MiB beyond what its inputs took."""
    torch.manual_seed(0)
    decoder = MixtureOfSoftmaxes(H, E, V, K)
    hidden = decoder.hand_over(torch.randn(1, N, H))[0].detach().requires_grad_()
    target = torch.randint(V, (N,))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if form != "inputs":
        loss = mean_loss(decoder, hidden, target, **({"limit": 10**12} if form == "plain" else {}))
        torch.autograd.backward(loss)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print((after - before) // 1024)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(sys.argv[1])
    else:
        for form in ("plain", "slices"):
            command = [sys.executable, "-m", "bench.training.loss_memory", form]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"{form}: {done.stdout.strip()} MiB")
