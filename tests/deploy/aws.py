"""What the tests ask of AWS, or its stand-in, that the host has no client for.

    aws.py operations                                    the operations of the services the host speaks to, and their names in Rust
    aws.py create ENDPOINT STACK TEMPLATE [KEY=VALUE..]   makes the stack and gives its outputs
    aws.py delete ENDPOINT STACK                          removes it, and says so once it is gone
    aws.py alarm ENDPOINT NAME                            the state of an alarm of CloudWatch
"""

import json
import sys
import time

import botocore.exceptions
import botocore.session
from botocore import xform_name

SERVICES = ("kinesis", "dynamodb", "dynamodbstreams", "cloudwatch", "sns")
SESSION = botocore.session.get_session()


def operations():
    return {
        service: {xform_name(name): name for name in SESSION.get_service_model(service).operation_names}
        for service in SERVICES
    }


def cloudformation(endpoint):
    return SESSION.create_client("cloudformation", endpoint_url=endpoint)


def until_done(client, stack):
    """The stack once nothing is in progress, None once it is gone."""
    while True:
        try:
            found = client.describe_stacks(StackName=stack)["Stacks"][0]
        except botocore.exceptions.ClientError as error:
            if "does not exist" in str(error):
                return None
            raise
        if not found["StackStatus"].endswith("_IN_PROGRESS"):
            return found
        time.sleep(0.05)


def create(endpoint, stack, template, *parameters):
    client = cloudformation(endpoint)
    with open(template, encoding="utf-8") as file:
        body = file.read()
    pairs = [parameter.split("=", 1) for parameter in parameters]
    client.create_stack(
        StackName=stack,
        TemplateBody=body,
        Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in pairs],
        Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
    )
    made = until_done(client, stack)
    if made["StackStatus"] != "CREATE_COMPLETE":
        events = client.describe_stack_events(StackName=stack)["StackEvents"]
        failed = [
            f"{e['LogicalResourceId']}: {e.get('ResourceStatusReason')}" for e in events if "FAILED" in e["ResourceStatus"]
        ]
        sys.exit(f"{stack} is {made['StackStatus']}: {'; '.join(failed)}")
    return {output["OutputKey"]: output["OutputValue"] for output in made["Outputs"]}


def delete(endpoint, stack):
    client = cloudformation(endpoint)
    client.delete_stack(StackName=stack)
    left = until_done(client, stack)
    if left is not None and left["StackStatus"] != "DELETE_COMPLETE":
        sys.exit(f"{stack} is {left['StackStatus']}")
    return {"deleted": stack}


def alarm(endpoint, name):
    client = SESSION.create_client("cloudwatch", endpoint_url=endpoint)
    found = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return {"state": found[0]["StateValue"] if found else None}


commands = {"operations": operations, "create": create, "delete": delete, "alarm": alarm}
if sys.argv[1] not in commands:
    sys.exit(f"{sys.argv[1]}: expected one of {', '.join(commands)}")
print(json.dumps(commands[sys.argv[1]](*sys.argv[2:])))
