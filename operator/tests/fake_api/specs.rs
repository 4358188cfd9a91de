//! Resources that say as much as they may, so that every field has a place to stand.

use serde_json::Value;

/// A source, a sink and a pipeline that go together, as JSON.
pub struct Set {
    source: &'static str,
    sink: &'static str,
    pipeline: &'static str,
    /// What the ConfigMap `queries` holds.
    pub config_map: Option<&'static str>,
}

/// The spec of a kind.
pub fn of_kind(set: &Set, kind: &str) -> Value {
    let text = match kind {
        "StreamSource" => set.source,
        "StreamSink" => set.sink,
        _ => set.pipeline,
    };
    serde_json::from_str(text).expect("JSON")
}

/// Kafka to Kafka, files to files, generated rows to the terminal.
pub static SETS: [Set; 3] = [
    Set {
        source: r#"{
            "kafka": {
                "brokers": ["kafka:9092"], "topic": "trips", "allowPrivateAddresses": ["10.0.0.0/8"],
                "startAt": {"position": "Offsets", "offsets": [{"partition": 0, "offset": 7}]},
                "tls": {
                    "caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}},
                    "certFrom": {"secretKeyRef": {"name": "kafka", "key": "tls.crt"}},
                    "keyFrom": {"secretKeyRef": {"name": "kafka", "key": "tls.key"}}, "serverName": "kafka"
                },
                "sasl": {
                    "mechanism": "ScramSha512", "username": "app",
                    "passwordFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}}
                },
                "commitToGroup": "mine", "properties": {}
            },
            "format": {"json": {"strict": false, "timestampFormat": "Iso8601"}},
            "schema": [
                {"name": "at", "type": "TIMESTAMP(3)", "from": "pickup_at", "nullable": true},
                {"name": "fare", "type": "DOUBLE"}
            ],
            "watermark": {"column": "at", "delay": "30s", "idleAfter": "1m", "late": "Drop"},
            "onError": "Drop", "maxRecordBytes": "1Mi"
        }"#,
        sink: r#"{
            "kafka": {
                "brokers": ["kafka:9092"], "topic": "out", "key": ["fare"], "compression": "Lz4",
                "allowPrivateAddresses": ["10.0.0.0/8"], "properties": {},
                "createTopic": {"partitions": 3, "replicationFactor": 1},
                "tls": {
                    "caFrom": {"configMapKeyRef": {"name": "ca", "key": "ca.crt"}},
                    "certFrom": {"secretKeyRef": {"name": "kafka", "key": "tls.crt"}},
                    "keyFrom": {"secretKeyRef": {"name": "kafka", "key": "tls.key"}}, "serverName": "kafka"
                },
                "sasl": {
                    "mechanism": "Plain", "username": "app",
                    "passwordFrom": {"secretKeyRef": {"name": "kafka", "key": "password"}}
                }
            },
            "format": {"json": {"strict": false, "timestampFormat": "EpochMillis"}}, "onError": "Fail"
        }"#,
        pipeline: r#"{
            "sources": [{"name": "trips", "as": "trips"}],
            "sinks": [{"name": "out", "as": "out", "delivery": "AtLeastOnce"}],
            "deadLetter": {"sink": "out"},
            "sql": "INSERT INTO out SELECT fare FROM trips", "delivery": "ExactlyOnce",
            "state": {
                "url": "s3://bucket/prefix", "commitEvery": "5s", "adopt": false,
                "s3": {
                    "region": "eu-central-1", "endpoint": "https://s3.example.com", "allowHttp": false,
                    "allowPrivateAddresses": ["10.0.0.0/8"],
                    "accessKeyFrom": {"secretKeyRef": {"name": "s3", "key": "id"}},
                    "secretKeyFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}}
                }
            },
            "scaling": {
                "mode": "Manual", "workers": 1, "minWorkers": 1, "maxWorkers": 3, "targetLag": "30s", "catchUp": "2m",
                "zeroAfter": "10m"
            },
            "worker": {
                "image": "thalweg:one",
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
                "nodeSelector": {"key": "fast"},
                "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 9}],
                "affinity": {
                    "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                        "weight": 1, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
                    }]},
                    "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{
                        "weight": 1,
                        "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {"matchLabels": {"key": "value"}}}
                    }]}
                },
                "priorityClassName": "low", "serviceAccountAnnotations": {"key": "value"},
                "imagePullSecrets": [{"name": "pull"}], "podLabels": {"key": "a"}, "podAnnotations": {"key": "b"},
                "logLevel": "Info", "metricsBy": ["Unit"]
            },
            "onIncompatibleChange": "Refuse", "deletionPolicy": "Retain", "paused": false
        }"#,
        config_map: None,
    },
    Set {
        source: r#"{
            "files": {
                "url": "s3://bucket/in/*.csv", "compression": "Gzip", "watch": "10s", "allowEmpty": true,
                "order": "ByName", "lanes": 4,
                "s3": {
                    "region": "eu-central-1", "endpoint": "https://s3.example.com", "allowHttp": false,
                    "allowPrivateAddresses": ["10.0.0.0/8"],
                    "accessKeyFrom": {"secretKeyRef": {"name": "s3", "key": "id"}},
                    "secretKeyFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}}
                }
            },
            "format": {"csv": {"header": true, "delimiter": ";", "quote": "'", "null": "-"}},
            "schema": [{"name": "fare", "type": "DOUBLE", "default": "1"}, {"name": "file", "type": "STRING", "metadata": "file"}],
            "onError": "Fail"
        }"#,
        sink: r#"{
            "files": {
                "url": "s3://bucket/out", "partitionBy": ["fare"], "roll": {"every": "1m", "size": "64Mi"},
                "s3": {
                    "region": "eu-central-1", "endpoint": "https://s3.example.com", "allowHttp": false,
                    "allowPrivateAddresses": ["10.0.0.0/8"],
                    "accessKeyFrom": {"secretKeyRef": {"name": "s3", "key": "id"}},
                    "secretKeyFrom": {"secretKeyRef": {"name": "s3", "key": "secret"}}
                }
            },
            "format": {"csv": {"header": true, "delimiter": ";", "quote": "'", "null": "-"}}
        }"#,
        pipeline: r#"{
            "sources": [{"name": "trips"}], "sinks": [{"name": "out"}],
            "sqlFrom": {"configMapKeyRef": {"name": "queries", "key": "fares.sql"}},
            "state": {"url": "s3://bucket/prefix", "keyGroups": 8},
            "worker": {"serviceAccountName": "mine"}
        }"#,
        config_map: Some(r#"{"fares.sql": "INSERT INTO out SELECT fare FROM trips"}"#),
    },
    Set {
        source: r#"{
            "generator": {
                "taxi": {"eventsPerSecond": 10, "brokenRate": 0.1, "lateRate": 0.1, "duplicateRate": 0.1, "hotZone": 7},
                "seed": 7, "splits": 2, "rows": 1000, "rowsPerSecond": 10
            },
            "format": {"json": {}},
            "schema": [{"name": "fare", "type": "DOUBLE", "from": "fare_amount"}]
        }"#,
        sink: r#"{"stdout": {"style": "Json"}}"#,
        pipeline: r#"{
            "sources": [{"name": "trips"}], "sinks": [{"name": "out"}], "sql": "INSERT INTO out SELECT fare FROM trips"
        }"#,
        config_map: None,
    },
];
