"""What goes into the norm behind a stack's last block, which transformers does not hand out."""

from typing import Any


class FinalNorm:
    """Watches one stack for a norm that runs after its last block, and keeps what goes into it.

    No list of names: blocks are the members of the stack's module lists, and the final norm is the norm outside of
    them that runs when they are done. Post-norm models have none.

    Attributes
    ----------
    taken_in : tensor or None
        What went into the norm in the last pass; None where no norm ran after the last block.
    """

    def __init__(self, stack: Any) -> None:
        from torch import nn

        self.taken_in: Any = None
        self._given_out: Any = None
        self._name = ""
        lists = [f"{name}." for name, module in stack.named_modules() if isinstance(module, nn.ModuleList)]
        for name, module in stack.named_modules():
            if any(name.startswith(prefix) for prefix in lists):
                module.register_forward_hook(self._block_is_done)
            elif type(module).__name__.endswith("Norm"):
                self._watch(name, module)

    def _watch(self, name: str, module: Any) -> None:
        def keep(_module: Any, inputs: tuple[Any, ...], output: Any) -> None:
            self.taken_in, self._given_out, self._name = inputs[0], output, name

        module.register_forward_hook(keep)

    def _block_is_done(self, *_: Any) -> None:
        self.taken_in = self._given_out = None

    def check_gives(self, last: Any) -> None:
        """Check that the stack's last hidden state is what the norm gave.

        Raises
        ------
        ValueError
            If something follows the norm, so that 'after the final norm' would be the wrong name.
        """
        import torch

        # A model that is spread over devices hands its outputs out on the first.
        given, last_row = self._given_out.reshape(-1).to(last.device), last.reshape(-1)
        # NaN equals NaN here: a broken activation is another error, with its place.
        if given.shape != last_row.shape or not torch.allclose(given, last_row, rtol=0, atol=0, equal_nan=True):
            raise ValueError(
                f"the norm {self._name} runs after the last block, but its output (shape "
                f"{tuple(self._given_out.shape)}) is not the last hidden state (shape {tuple(last.shape)}); "
                "models of this shape are not supported"
            )
