"""What a client may do with its job: cancel it, or submit it again."""

from service.domain.jobs.job import Job, Status
from service.domain.jobs.state_machine import RETRYABLE, canceled, retried
from service.domain.primitives.errors import Conflict
from service.transactions.change_set import Submission
from service.transactions.unit_of_work import Transactions


async def cancel_job(transactions: Transactions, job: Job) -> Job | None:
    """Cancel *job*; returns the canceled job, or None if it was canceled before.

    The provider may still finish and bill it. Conflict if it has ended or was submitted again.
    """
    async with transactions.begin([job.ref]) as uow:
        now = uow.job(job.ref)
        if now is None or now.ref != job.ref:
            raise Conflict(
                "The job has just been submitted again; read it again before you cancel it."
            )
        if now.ended and now.status is not Status.CANCELED:
            raise Conflict(f"The job has already ended; its status is {now.status}.")
        return None if now.ended else uow.transition(now, canceled(now, uow.at))


async def retry_job(transactions: Transactions, job: Job, new_ref: str) -> Job:
    """Submit *job* again as *new_ref*; Conflict unless it failed, expired or was canceled."""
    async with transactions.begin([job.ref]) as uow:
        now = uow.job(job.ref)
        if now is None or now.ref != job.ref or now.status not in RETRYABLE:
            raise Conflict(
                "Only a job that failed, expired or was canceled can be submitted again."
            )
        submission = Submission(ref=new_ref, job_id=now.id, created_at=uow.at)
        uow.changes.submissions.append(submission)
        return uow.transition(now, retried(now, new_ref, uow.at))
