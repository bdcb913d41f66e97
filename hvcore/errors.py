"""What can go wrong in the core, for those outside it to catch."""


class HvError(Exception):
    """The root of everything this package raises on purpose."""


class ConfigError(HvError):
    """The user asked for something that cannot be: one line that says what, and what is allowed."""


class EntryError(HvError):
    """A backend refused to enter the guest: the architectural error, which is a bug of this hypervisor.

    `code` is the vendor's own number (VMX: the VM-instruction error of SDM vol. 3 section 31.4).
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} (error {code})")
        self.code = code
