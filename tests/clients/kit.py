"""Drives a cloud through botocore and writes down every step.

A scenario is a small function whose name is a sentence; it takes a `Cloud` and calls, pages, waits and is refused. A
strict cloud raises at the first answer that is not as the scenario says; one that is not strict writes down what came,
so that two clouds can be compared step by step.
"""

import traceback

import botocore.config
import botocore.exceptions
import botocore.paginate
import botocore.session
import botocore.waiter

# Nothing of a cloud of records takes longer, even on a machine that is busy with others.
PATIENCE_SECONDS = 60
POLL_SECONDS = 0.05

SCENARIOS = []


def scenario(function):
    """Adds a function to what `run` runs."""
    SCENARIOS.append(function)
    return function


class Refused(Exception):
    """A call failed, or did not fail as it had to."""

    def __init__(self, code, status, message):
        super().__init__(f"{code} ({status}): {message}")
        self.code, self.status, self.message = code, status, message


class Cloud:
    """One account at one endpoint.

    `judge`, if any, is called with the operation's model, the status, the headers and the raw body of every answer.
    """

    def __init__(self, endpoint, access_key, secret_key, region, judge=None, strict=True):
        self.endpoint, self.region, self.judge, self.strict = endpoint, region, judge, strict
        self.keys = {"aws_access_key_id": access_key, "aws_secret_access_key": secret_key}
        self.session = botocore.session.Session()
        self.clients = {}
        self.transcript = []
        self.scenario, self.count = "", 0
        self.page_count = 0

    def client(self, service, validates=True):
        """The client of a service; one that does not validate sends what no shape allows."""
        if (service, validates) not in self.clients:
            config = botocore.config.Config(
                retries={"total_max_attempts": 1, "mode": "standard"},
                parameter_validation=validates,
                read_timeout=PATIENCE_SECONDS,
            )
            client = self.session.create_client(
                service, region_name=self.region, endpoint_url=self.endpoint, config=config, **self.keys
            )
            if self.judge:
                client.meta.events.register("before-parse", self._judge)
            self.clients[service, validates] = client
        return self.clients[service, validates]

    def _judge(self, operation_model, response_dict, **_):
        self.judge(operation_model, response_dict["status_code"], response_dict["headers"], response_dict["body"])

    def call(self, service, action, form=None, **params):
        """Calls an action and answers what it answers; fields of `form` go beside the parameters, as they are."""
        step = self._send(service, action, params, form)
        if "error" in step and self.strict:
            raise Refused(**step["error"])
        return step.get("answer", {})

    def refused(self, code, service, action, form=None, **params):
        """Calls an action that must fail with this code; nothing is validated before it is sent."""
        step = self._send(service, action, params, form, validates=False)
        step["expected"] = code
        error = step.get("error", {"code": "no error", "status": 200, "message": f"{code} was expected"})
        if self.strict and error["code"] != code:
            raise Refused(error["code"], error["status"], f"{error['message']} ({code} was expected)")

    def pages(self, service, action, result_key, page_size, **params):
        """All results of an action, gathered by botocore's paginator."""
        client = self.client(service)
        model = self.session.get_service_model(service).operation_model(action)
        config = self.session.get_paginator_model(service).get_paginator(action)

        def method(**page):
            step = self._send(service, action, page)
            if "error" in step:
                raise Refused(**step["error"])
            return step["answer"]

        pages = botocore.paginate.Paginator(method, config, model).paginate(
            PaginationConfig={"PageSize": page_size}, **params
        )
        results, count = [], 0
        try:
            for page in pages:
                count += 1
                found = page.get(result_key, [])
                if self.strict and len(found) > page_size:
                    raise AssertionError(f"a page of {action} has {len(found)} results, not {page_size} at most")
                results += found
        except Refused:
            if self.strict:
                raise
        self.page_count = count
        return results

    def wait(self, service, waiter_name, **params):
        """Waits by a waiter of botocore's; answers what the last of its calls answered."""
        config = self.session.get_waiter_model(service).get_waiter(waiter_name)
        last = {}

        def method(**call):
            if last:
                # Only the last of a waiter's calls is a step: how many there are is a matter of time.
                self.transcript.pop()
                self.count -= 1
            last["step"] = self._send(service, config.operation, call)
            last["step"]["waiter"] = waiter_name
            if "error" in last["step"]:
                error = last["step"]["error"]
                return {"Error": {"Code": error["code"], "Message": error["message"]}}
            return last["step"]["answer"]

        attempts = int(PATIENCE_SECONDS / POLL_SECONDS) if self.strict else 40
        try:
            botocore.waiter.Waiter(waiter_name, config, method).wait(
                WaiterConfig={"Delay": POLL_SECONDS, "MaxAttempts": attempts}, **params
            )
        except botocore.exceptions.WaiterError:
            if self.strict:
                raise
        return last["step"].get("answer", {})

    def _send(self, service, action, params, form=None, validates=True):
        """Sends one call and writes it down."""
        client = self.client(service, validates)
        self.count += 1
        step = {
            "label": f"{self.scenario}: {self.count}",
            "scenario": self.scenario,
            "service": service,
            "action": action,
            "params": params,
        }
        unique = f"before-call.{client.meta.service_model.service_id.hyphenize()}.{action}"

        def add(params, **_):
            params["body"].update(form)

        if form:
            client.meta.events.register(unique, add)
        try:
            method = getattr(client, self._method(client, action))
            answer = method(**params)
            answer.pop("ResponseMetadata", None)
            step["answer"] = answer
        except botocore.exceptions.ClientError as error:
            said = error.response["Error"]
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            step["error"] = {"code": said.get("Code", ""), "status": status, "message": said.get("Message", "")}
        finally:
            if form:
                client.meta.events.unregister(unique, add)
        self.transcript.append(step)
        return step

    @staticmethod
    def _method(client, action):
        names = client.meta.method_to_api_mapping
        return next(method for method, name in names.items() if name == action)


def run(cloud, scenarios=None):
    """Runs scenarios one after the other; answers for each its name, whether it went to its end, and what ended it."""
    results = []
    for function in SCENARIOS if scenarios is None else scenarios:
        cloud.scenario, cloud.count = function.__name__, 0
        result = {"scenario": function.__name__, "passed": True, "trouble": None}
        try:
            function(cloud)
        # A scenario that cannot go on must not keep the others from it.
        except Exception:
            result |= {"passed": False, "trouble": traceback.format_exc()}
        results.append(result)
    cloud.scenario = ""
    return results
