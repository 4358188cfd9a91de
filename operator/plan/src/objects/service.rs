//! A headless Service: whoever scrapes metrics finds the workers by it.

use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Build, HTTP_PORT};

impl Build<'_> {
    pub(super) fn service(&self) -> Service {
        let port = ServicePort {
            name: Some("http".to_owned()),
            port: HTTP_PORT,
            protocol: Some("TCP".to_owned()),
            target_port: Some(IntOrString::String("http".to_owned())),
            ..ServicePort::default()
        };
        Service {
            metadata: self.metadata(&self.pipeline.names.service()),
            spec: Some(ServiceSpec {
                cluster_ip: Some("None".to_owned()),
                // A worker that waits for units has figures too.
                publish_not_ready_addresses: Some(true),
                selector: Some(self.selector()),
                ports: Some(vec![port]),
                ..ServiceSpec::default()
            }),
            status: None,
        }
    }
}
