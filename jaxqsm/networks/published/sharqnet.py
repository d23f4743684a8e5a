"""SHARQnet: background removal by the U-Net of DeepQSM."""

from __future__ import annotations

from jaxqsm.networks.published.deepqsm import DeepQSM


class SHARQnet(DeepQSM):
    """Total to local field: the same U-Net, trained for ``background``.

    References:
        Bollmann et al. 2019, Z Med Phys 29:139, doi:10.1016/j.zemedi.2019.01.001.
    """
