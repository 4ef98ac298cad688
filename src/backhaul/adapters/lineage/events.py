"""A transfer as a run of OpenLineage: START, then exactly one of COMPLETE, FAIL and ABORT.

The models and their JSON are those of openlineage-python. Its client and its transports are not
used: they try again by themselves, block for seconds where nobody listens, follow redirects, and
add a facet of their own. Replies have all that already (`adapters.reply`).

Source: OpenLineage 2-0-2, its naming of datasets, and its standard facets.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from importlib.metadata import version
from typing import Any
from uuid import UUID, uuid5

from backhaul import __version__
from backhaul.core.errors import ConfigurationError
from backhaul.core.replies.reply import SUPERSEDED, Reply, ReplyEvent

PRODUCER = f"urn:backhaul:{__version__}"
CANCELLED = "E_CANCELLED"
_PACKAGE = "openlineage-python"
_NAMESPACE = UUID("6f2d4c0a-3b1e-5e57-9a58-0d7b6c1f9e42")
_PARENT_MOST = 2048  # characters


def run_id(transfer_id: str) -> str:
    """The same for all events of a transfer, and for each delivery of them.

    Of the transfer alone: an epoch belongs to an attempt, and the run is all of them.
    """
    return str(uuid5(_NAMESPACE, transfer_id))


def parse_parent(text: str | None) -> tuple[str, str, str] | None:
    """Namespace, job and run from `NAMESPACE/JOB/RUN`, as Airflow's `lineage_parent_id` has it.

    None where there is none, or it is none: a message is not refused for it.
    """
    if text is None or len(text) > _PARENT_MOST:
        return None
    namespace, _, rest = text.strip().rpartition("/")
    namespace, _, job = namespace.rpartition("/")
    if not namespace or not job:
        return None
    try:
        return namespace, job, str(UUID(rest))
    except ValueError:
        return None


def dataset_name(uri: str) -> tuple[str, str]:
    """Namespace and name of a source or destination, by OpenLineage's naming."""
    scheme, _, rest = uri.partition("://")
    place, _, path = rest.partition("/")
    path = path.rstrip("/")
    if scheme == "s3":
        return f"s3://{place}", path or "/"
    return "file" if scheme == "file" else f"{scheme}://{place}", f"/{path}"


class LineageEvents:
    """Makes the events.

    Args:
        namespace: Of the jobs; a job is a route.
        parent_of: What a transfer's message gave as its parent run, by the transfer's id.

    Raises:
        ConfigurationError: E_LINEAGE_PACKAGE: the extra is not installed.
    """

    def __init__(self, namespace: str, parent_of: Callable[[str], str | None]) -> None:
        self._namespace = namespace
        self._parent_of = parent_of
        try:
            from openlineage.client import event_v2, facet_v2  # noqa: PLC0415 - of an extra
            from openlineage.client.serde import Serde  # noqa: PLC0415
        except ImportError as exc:
            raise ConfigurationError(
                "E_LINEAGE_PACKAGE",
                f"[lineage] has a url, and {_PACKAGE} is not installed",
                hint="pip install 'backhaul[openlineage]', or take [lineage] out",
            ) from exc
        self._events: Any = event_v2
        self._facets: Any = facet_v2
        self._to_json: Callable[[object], str] = Serde.to_json
        self._version = version(_PACKAGE)

    def body(self, reply: Reply) -> bytes:
        """The event as JSON: the same bytes at each delivery."""
        event, state = self._events, self._state(reply)
        is_complete = state is event.RunState.COMPLETE
        run = event.Run(runId=run_id(reply.transfer_id), facets=self._run_facets(reply, state))
        job = event.Job(
            namespace=self._namespace, name=reply.route or "none", facets=self._job_facets()
        )
        text = self._to_json(
            event.RunEvent(
                eventType=state,
                eventTime=reply.at.astimezone(UTC).isoformat(timespec="milliseconds"),
                producer=PRODUCER,
                run=run,
                job=job,
                inputs=[self._input(reply, is_complete=is_complete)],
                outputs=[self._output(reply, is_complete=is_complete)],
            )
        )
        return text.encode("utf-8")

    def _state(self, reply: Reply) -> Any:
        """ABORT: nothing went wrong, and this run has written nothing, or not to its end."""
        states = self._events.RunState
        match reply.event:
            case ReplyEvent.STARTED:
                return states.START
            case ReplyEvent.DONE:
                return states.ABORT if reply.code == SUPERSEDED else states.COMPLETE
            case ReplyEvent.DEAD:
                return states.ABORT if reply.code == CANCELLED else states.FAIL
            case _:
                return states.OTHER  # holds, which nothing wishes to have

    def _run_facets(self, reply: Reply, state: Any) -> dict[str, Any]:
        facet = self._facets
        found = {
            "processing_engine": facet.processing_engine_run.ProcessingEngineRunFacet(
                name="backhaul",
                version=__version__,
                openlineageAdapterVersion=self._version,
                producer=PRODUCER,
            ),
            "externalQuery": facet.external_query_run.ExternalQueryRunFacet(
                externalQueryId=reply.transfer_id, source="backhaul", producer=PRODUCER
            ),
        }
        if (parent := parse_parent(self._parent_of(reply.transfer_id))) is not None:
            namespace, job, run = parent
            found["parent"] = facet.parent_run.ParentRunFacet(
                run=facet.parent_run.Run(runId=run),
                job=facet.parent_run.Job(namespace=namespace, name=job),
                producer=PRODUCER,
            )
        if state is self._events.RunState.FAIL:
            found["errorMessage"] = facet.error_message_run.ErrorMessageRunFacet(
                message=f"{reply.code}: {reply.reason}",
                programmingLanguage="python",
                producer=PRODUCER,
            )
        return found

    def _job_facets(self) -> dict[str, Any]:
        facet = self._facets.job_type_job.JobTypeJobFacet
        one = facet(
            processingType="BATCH", integration="BACKHAUL", jobType="TRANSFER", producer=PRODUCER
        )
        return {"jobType": one}

    def _input(self, reply: Reply, *, is_complete: bool) -> Any:
        statistics = self._facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet
        namespace, name = dataset_name(reply.source)
        facets = {"inputStatistics": _counted(statistics, reply)} if is_complete else {}
        return self._events.InputDataset(namespace=namespace, name=name, inputFacets=facets)

    def _output(self, reply: Reply, *, is_complete: bool) -> Any:
        facet = self._facets
        statistics = facet.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
        namespace, name = dataset_name(reply.destination)
        facets, counted = {}, {}
        if is_complete:
            counted["outputStatistics"] = _counted(statistics, reply)
            if reply.digest is not None:
                facets["version"] = facet.dataset_version_dataset.DatasetVersionDatasetFacet(
                    datasetVersion=reply.digest, producer=PRODUCER
                )
        return self._events.OutputDataset(
            namespace=namespace, name=name, facets=facets, outputFacets=counted
        )


def _counted(facet: Any, reply: Reply) -> Any:
    return facet(size=reply.size_bytes, fileCount=reply.objects, producer=PRODUCER)
