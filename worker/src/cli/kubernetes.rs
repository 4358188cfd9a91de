//! How commands about pipelines reach a cluster, and what they say where they cannot.

use std::time::Duration;

use kube::api::ListParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config, ResourceExt};
use thalweg_crds::StreamPipeline;

use super::Exit;
use super::args::PipelineArgs;

/// How long an answer of the API server may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Names that are told where one is not found.
const NAMES: usize = 10;

/// Why a command about a pipeline cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// No kubeconfig, or none that can be read.
    #[error(
        "no cluster is known: {0}\n  name one as kubectl does: KUBECONFIG=FILE, --context NAME, or from within a pod of it"
    )]
    NoCluster(String),
    /// Nobody answers.
    #[error("{server} does not answer: {said}\n  is the cluster up, and is it this one? (kubectl cluster-info)")]
    NoAnswer {
        /// Its address.
        server: String,
        /// What happened.
        said: String,
    },
    /// The kind is not there.
    #[error(
        "{server} knows no StreamPipeline (thalweg.dev/v1alpha1)\n  install the chart first: helm install thalweg charts/thalweg \
         --namespace thalweg --create-namespace"
    )]
    NotInstalled {
        /// Its address.
        server: String,
    },
    /// There is no pipeline of this name.
    #[error("there is no StreamPipeline `{name}` in namespace {namespace}{others}")]
    NoPipeline {
        /// Its name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// Those that there are, in words.
        others: String,
    },
    /// Somebody may not do this.
    #[error(
        "{said}\n  the chart's role `edit` (or `view`, for status) has to be bound to you in namespace {namespace}"
    )]
    Forbidden {
        /// What the API server said.
        said: String,
        /// The namespace.
        namespace: String,
    },
    /// Anything else that the API server says.
    #[error("{doing}: {said}")]
    Other {
        /// What was asked of it.
        doing: String,
        /// What it said.
        said: String,
    },
}

impl Refusal {
    /// How the process ends.
    pub fn exit(&self) -> Exit {
        match self {
            Self::NoCluster(_) | Self::NoPipeline { .. } => Exit::Wrong,
            _ => Exit::Failed,
        }
    }
}

/// A pipeline in a cluster.
pub struct Place {
    /// The API server.
    pub client: Client,
    /// Its address, as people know it.
    pub server: String,
    /// The namespace.
    pub namespace: String,
    /// The pipeline.
    pub name: String,
}

impl Place {
    /// Finds the cluster that is meant; nothing is asked of it yet.
    ///
    /// # Errors
    /// None is known.
    pub async fn find(args: &PipelineArgs) -> Result<Self, Refusal> {
        let unknown = |error: &dyn std::fmt::Display| Refusal::NoCluster(error.to_string());
        let options = KubeConfigOptions { context: args.context.clone(), ..KubeConfigOptions::default() };
        let mut config = match (Kubeconfig::read(), &args.context) {
            (Ok(file), _) => Config::from_custom_kubeconfig(file, &options).await.map_err(|error| unknown(&error))?,
            (Err(error), Some(_)) => return Err(unknown(&error)),
            // Within a pod there is no file.
            (Err(error), None) => Config::incluster().map_err(|_| unknown(&error))?,
        };
        config.connect_timeout = Some(ANSWER);
        config.read_timeout = Some(ANSWER);
        let namespace = args.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
        Self::at(config, namespace, args.pipeline.clone())
    }

    /// A pipeline in the cluster of a configuration.
    ///
    /// # Errors
    /// The configuration makes no client.
    pub fn at(config: Config, namespace: String, name: String) -> Result<Self, Refusal> {
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let client = Client::try_from(config).map_err(|error| Refusal::NoCluster(error.to_string()))?;
        Ok(Self { client, server, namespace, name })
    }

    /// The pipeline.
    ///
    /// # Errors
    /// It is not there, or nobody says so.
    pub async fn pipeline(&self) -> Result<StreamPipeline, Refusal> {
        let api: Api<StreamPipeline> = Api::namespaced(self.client.clone(), &self.namespace);
        match api.get_opt(&self.name).await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => Err(self.missing(&api).await),
            // Of a kind that is not there, some servers say so in plain text.
            Err(kube::Error::Api(status)) if status.code == 404 => Err(self.missing(&api).await),
            Err(error) => Err(self.refusal("reading the pipeline", &error)),
        }
    }

    /// Why there is no pipeline of this name.
    async fn missing(&self, api: &Api<StreamPipeline>) -> Refusal {
        let limit = u32::try_from(NAMES).unwrap_or(u32::MAX);
        match api.list(&ListParams::default().limit(limit)).await {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                Refusal::NotInstalled { server: self.server.clone() }
            }
            // Who may read one need not be allowed to read all.
            Err(_) => self.no_pipeline(String::new()),
            Ok(list) if list.items.is_empty() => {
                self.no_pipeline(", nor any other\n  is it in another one? (kubectl get streampipelines -A)".to_owned())
            }
            Ok(list) => {
                let names: Vec<_> = list.items.iter().map(ResourceExt::name_any).collect();
                let more = if list.metadata.continue_.is_some_and(|more| !more.is_empty()) { ", …" } else { "" };
                self.no_pipeline(format!("\n  there are: {}{more}", names.join(", ")))
            }
        }
    }

    fn no_pipeline(&self, others: String) -> Refusal {
        Refusal::NoPipeline { name: self.name.clone(), namespace: self.namespace.clone(), others }
    }

    /// What an error of the client means for its user.
    pub fn refusal(&self, doing: &str, error: &kube::Error) -> Refusal {
        match error {
            kube::Error::Api(status) if status.code == 403 => {
                Refusal::Forbidden { said: status.message.clone(), namespace: self.namespace.clone() }
            }
            kube::Error::Api(status) => Refusal::Other { doing: doing.to_owned(), said: status.message.clone() },
            error => Refusal::NoAnswer { server: self.server.clone(), said: root(error) },
        }
    }
}

/// The innermost cause: what wraps it says that a request has failed.
fn root(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
