"""Does a bundle work on this machine? Its golden faces through the runtime at hand, before the model is trusted."""

from collections.abc import Callable

from agent import config
from agent.vision.classify import Classifier
from agent.vision.model_card import Bundle


def works_here(classify: config.Classify) -> Callable[[Bundle], None]:
    """Return a check that raises ModelError for a bundle whose golden outputs this machine's runtime does not give."""

    def accept(bundle: Bundle) -> None:
        with Classifier(bundle, threads=1, runtime=classify.runtime, faces_per_frame=1):
            pass

    return accept
