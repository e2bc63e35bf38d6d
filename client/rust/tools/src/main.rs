//! A plugin of buf that generates the messages and the client of `inference.proto` by tonic and prost, without protoc.
//! Only the tests use the service.

use std::io::{Read, Write};
use std::{env, error, fs, io, process};

use prost::Message;
use prost_types::FileDescriptorSet;
use prost_types::compiler::{CodeGeneratorRequest, CodeGeneratorResponse, code_generator_response};

const FILE: &str = "inference.rs"; // named by its package

fn main() -> Result<(), Box<dyn error::Error>> {
    let mut given = Vec::new();
    io::stdin().read_to_end(&mut given)?;
    let request = CodeGeneratorRequest::decode(given.as_slice())?;
    let folder = env::temp_dir().join(format!("protoc-gen-sentriton-{}", process::id()));
    fs::create_dir_all(&folder)?;
    tonic_prost_build::configure()
        .build_transport(false)
        .generate_default_stubs(true)
        // A message shares its tensors with the received bytes, without a copy.
        .bytes("raw_input_contents")
        .bytes("raw_output_contents")
        .server_mod_attribute(".", "#[cfg(test)]")
        .out_dir(&folder)
        .compile_fds(FileDescriptorSet { file: request.proto_file })?;
    let content = fs::read_to_string(folder.join(FILE))?;
    fs::remove_dir_all(&folder)?;
    let file = code_generator_response::File { name: Some(FILE.into()), content: Some(content), ..Default::default() };
    let response = CodeGeneratorResponse { file: vec![file], ..Default::default() };
    io::stdout().write_all(&response.encode_to_vec())?;
    Ok(())
}
