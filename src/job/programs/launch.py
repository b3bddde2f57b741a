"""The ranks of one program, started as often as it takes: of a whole run, or of one of its members."""

import os
import shutil

import processes
from streams import Ranks, Splitter

# A follower polls at least this often, so looking for output more often shows nothing sooner.
DRAIN_SECONDS = 0.05
# Ranks told of in the report of a failure.
FAILED_RANKS = 8
# How often mpirun is started until a rank has: a daemon of Open MPI 5 has been seen to hang for good on a fresh node.
STARTS = 3


class Launch:
    """One mpirun and its repetitions.

    `control` is the folder that has `program` and `environment` for the ranks, `folder` their working directory; `nodes`
    are those of the hostfile; `tag` stands before the ranks' numbers in the log, and `mark` is what their processes carry.
    """

    def __init__(self, plan, log, limit, control, folder, nodes, mpirun, tag="", mark=None):
        self.plan, self.log, self.limit, self.control, self.folder = plan, log, limit, control, folder
        self.nodes, self.mpirun, self.tag = nodes, mpirun, tag
        self.marks = {"EWULF_RUN": plan["run"], **(mark or {})}
        # With many of them at once, the master still has something else to do.
        self.pause = min(1.0, DRAIN_SECONDS * max(1, len(plan.get("groups", []))))

    def carry_out(self, tell, again):
        """Starts the ranks until they succeed or there is no use in it; answers an outcome and what there is to say.

        `tell` is called with facts as they come; `again` is asked with those of a failed attempt whether to go on.
        """
        attempt, attempts = 0, self.plan["attempts"]
        while True:
            attempt += 1
            tell(attempt=attempt)
            outcome, facts = self.attempt(attempt)
            facts["attempts"] = attempt
            tell(exit=facts["exit"])
            if outcome == "succeeded":
                return outcome, facts
            facts["unswept"] = self.sweep()
            if outcome != "failed" or attempt == attempts or not again(facts):
                return outcome, facts

    def attempt(self, attempt):
        """Runs all ranks once. As long as no rank has started, mpirun may be started again: nothing has been done yet."""
        for start in range(1, STARTS + 1):
            outcome, facts = self.start(attempt)
            if outcome != "hung":
                return outcome, facts
            facts["hung"] = self.plan["start_seconds"]
            more = f": starting it again ({start + 1} of {STARTS})" if start < STARTS else ""
            self.log.say(f"mpirun had started no rank after {facts['hung']} s{more}")
            if more:
                self.sweep()
        return "failed", facts

    def start(self, attempt):
        """Starts mpirun and waits for its end, or until it is certain that it hangs."""
        ranks = sum(node["ranks"] for node in self.nodes)
        folder = os.path.join(self.control, f"ranks-{attempt}")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        output = Ranks(self.log, folder, f"{self.tag} r" if self.tag else "", self.pause)
        argv = [*self.mpirun, os.path.join(self.plan["folder"], ".ewulf", "rank.sh"), self.control, str(attempt)]
        environment = {**self.plan["mpirun_environment"], **self.marks}
        splitter = Splitter(self.log, f"{self.tag} mpirun".strip())
        # Each rank's output goes into files of this folder.
        limit = processes.Start(self.limit, lambda: os.listdir(folder), self.plan["start_seconds"])
        status, tail = processes.run(argv, self.folder, environment, splitter, limit)
        ends = output.end()
        # Those that started while it was being ended are no reason to start the others again.
        hangs = limit.hung and not os.listdir(folder)
        failed = [end for end in ends if end["status"] != 0]
        shutil.rmtree(folder, ignore_errors=True)
        facts = {"step": None, "exit": status, "lines": tail, "ranks": failed[:FAILED_RANKS], "ended_ranks": len(ends)}
        if status == 0 and not failed and len(ends) == ranks:
            # What was asked for is there, even if a request to stop came in the last moment.
            return "succeeded", facts
        return self.limit.why or ("hung" if hangs else "failed"), facts

    def sweep(self):
        """Kills what is left of the ranks; answers the addresses of nodes that could not be reached."""
        name, value = list(self.marks.items())[-1]
        return processes.sweep(f"{name}={value}", self.nodes, self.plan["master"])
