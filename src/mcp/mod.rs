//! The queue for language models and their programs: the Model Context Protocol over standard input
//! and output, and as a service for the HTTP face. Answers are those of the command line with
//! `--json`.

mod tools;

use std::sync::Arc;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation,
    ListToolsResult, PaginatedRequestParams, ServerCapabilities, ServerConfig,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use self::tools::{Answered, Tool, call};
use crate::config::Config;
use crate::queue::{Queue, QueueError};
use crate::store::{Access, Store};

const INSTRUCTIONS: &str = "zimaged renders pictures from a queue, one after the other, on this \
machine. Check a job before you submit it: the answer says what is wrong, how long it takes and \
whether it fits the memory. Submit answers at once with a job's id; wait for the job, then show \
its pictures by ids like 3.1, which is the first picture of job 3.";

/// The queue, for whoever speaks the protocol.
#[derive(Clone)]
pub struct QueueServer {
    config: Arc<Config>,
    store: Arc<Store>,
}

/// What answers the protocol's requests over HTTP.
pub type HttpService = StreamableHttpService<QueueServer, NeverSessionManager>;

/// Serves standard input and output until the input ends.
///
/// # Errors
/// Where the queue cannot be opened, or the other side does not speak the protocol.
pub async fn serve(config: &Config) -> anyhow::Result<()> {
    crate::queue::check_present(config)?;
    let store = Arc::new(Store::open(&config.database_path(), Access::Client).await?);
    let server = QueueServer { config: Arc::new(config.clone()), store };
    let service = server.serve(rmcp::transport::stdio()).await?;
    service.waiting().await?;
    Ok(())
}

/// The same over HTTP, until `stop`. Each request is answered by itself, in JSON: nothing is kept
/// of a client between two. Who may ask, and how much may be sent, has been judged before.
pub fn over_http(config: Arc<Config>, store: Arc<Store>, stop: CancellationToken) -> HttpService {
    let server = QueueServer { config, store };
    let settings = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_cancellation_token(stop)
        .disable_allowed_hosts();
    StreamableHttpService::new(move || Ok(server.clone()), Arc::default(), settings)
}

impl ServerHandler for QueueServer {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("zimaged", env!("CARGO_PKG_VERSION")))
            .with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(Tool::ALL.map(Tool::described).into()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = Tool::ALL.into_iter().find(|tool| tool.name() == request.name);
        let tool = tool.ok_or_else(|| {
            ErrorData::invalid_params(format!("there is no tool {}", request.name), None)
        })?;
        let queue = Queue::of(&self.config, self.store.clone());
        let arguments = Value::Object(request.arguments.unwrap_or_default());
        let answered = call(&queue, &self.config, tool, arguments);
        let answered = match tool {
            // Where it is cancelled nobody is left who would read the answer.
            Tool::Wait => context.ct.run_until_cancelled(answered).await,
            // A write must not be dropped on its way.
            _ => Some(answered.await),
        };
        let answered = answered.ok_or_else(|| ErrorData::internal_error("cancelled", None))?;
        Ok(result(answered).into())
    }
}

/// What went wrong is for the model to read, which may do better then.
fn result(answered: Result<Answered, QueueError>) -> CallToolResult {
    match answered {
        Ok(Answered { facts, picture }) => {
            let mut content = vec![ContentBlock::text(facts.to_string())];
            content.extend(picture.map(|jpeg| ContentBlock::image(jpeg, "image/jpeg")));
            CallToolResult::success(content)
        }
        Err(error) => CallToolResult::error(vec![ContentBlock::text(error.to_string())]),
    }
}
