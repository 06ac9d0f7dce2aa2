// A stream as a guest of an identity pool reaches it: GetId, GetCredentialsForIdentity, PutRecord.
//
// Invariants
// - The only thing asked of AWS with the guest's credentials is PutRecord, on one stream: the role allows nothing else.
// - Nothing is repeated here; the outbox (`device.mjs`) does that, and one layer of it is enough.
// - A clock that is wrong does not keep a device out: the SDK signs with the service's time, learnt from its answers. The
//   events keep the device's own time, and the policy's watermark is what deals with that.
//
// Not here: patience, order, batches (`device.mjs`).

import { KinesisClient, PutRecordCommand } from "@aws-sdk/client-kinesis";
import { fromCognitoIdentityPool } from "@aws-sdk/credential-provider-cognito-identity";

/** The record itself is refused: sending it again would change nothing. All else passes, or is mended by somebody. */
const NEVER = new Set(["ValidationException", "InvalidArgumentException", "SerializationException"]);
/** The credentials are at fault: new ones are asked for. */
const CREDENTIALS = new Set(["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"]);

/**
 * What `Device` sends with.
 *
 * @param {object} where
 * @param {string} where.pool  The identity pool, `REGION:UUID`.
 * @param {string} where.stream  The stream's name.
 * @param {string} [where.region]  The stream's region, if it is not the pool's.
 * @param {import("@aws-sdk/client-kinesis").KinesisClientConfig["requestHandler"]} [where.requestHandler]  How requests are
 *   made. Default: the SDK's own, which in Node speaks HTTP/2; stand-ins want `NodeHttpHandler`.
 */
export function kinesis({ pool, stream, region, requestHandler }) {
  const home = /^([a-z0-9-]+):[0-9a-f-]+$/i.exec(pool)?.[1];
  if (!home) throw new TypeError(`expected an identity pool like eu-west-1:0123..., found ${JSON.stringify(pool)}`);
  const common = { maxAttempts: 1, ...(requestHandler && { requestHandler }) };
  const connect = () =>
    new KinesisClient({
      ...common,
      region: region ?? home,
      credentials: fromCognitoIdentityPool({ identityPoolId: pool, clientConfig: { ...common, region: home } }),
    });
  let client = connect();
  return async (key, data) => {
    try {
      await client.send(new PutRecordCommand({ StreamName: stream, PartitionKey: key, Data: data }));
    } catch (error) {
      if (CREDENTIALS.has(error.name)) client = connect();
      throw Object.assign(error, { never: NEVER.has(error.name) });
    }
  };
}
