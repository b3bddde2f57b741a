# The graph of a cluster and nothing else: Terraform's core ships one provider, whose data sources read a file. Workers
# depend on the subnet, and it on the VPC.
variable "workers" {
  type = number
}

data "terraform_remote_state" "vpc" {
  backend = "local"
  config  = { path = "${path.module}/known.tfstate" }
}

data "terraform_remote_state" "subnet" {
  backend = "local"
  config  = { path = "${path.module}/known.tfstate", workspace_dir = data.terraform_remote_state.vpc.outputs.id }
}

data "terraform_remote_state" "worker" {
  count   = var.workers
  backend = "local"
  config  = { path = "${path.module}/known.tfstate", workspace_dir = data.terraform_remote_state.subnet.outputs.id }
}
