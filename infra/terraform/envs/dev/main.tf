# One environment: a cluster for nightly runs, empty by day.

locals {
  tags   = { project = "terraquery", environment = var.name }
  bucket = "${var.name}-${var.account_id}-${var.region}"
  zones  = [for letter in var.zone_letters : "${var.region}${letter}"]
}

module "encryption" {
  source = "../../modules/encryption"

  name       = var.name
  account_id = var.account_id
  region     = var.region
}

module "network" {
  source = "../../modules/network"

  name         = var.name
  account_id   = var.account_id
  region       = var.region
  zones        = local.zones
  nat_per_zone = var.nat_per_zone
  bucket       = local.bucket
  inputs       = var.inputs
  key_arn      = module.encryption.key_arn
}

module "storage" {
  source = "../../modules/storage"

  bucket     = local.bucket
  account_id = var.account_id
  key_arn    = module.encryption.key_arn
}

module "registry" {
  source = "../../modules/registry"

  key_arn = module.encryption.key_arn
}

module "eks" {
  source = "../../modules/eks"

  name               = var.name
  account_id         = var.account_id
  kubernetes_version = var.kubernetes_version
  subnet_ids         = module.network.private_subnet_ids
  api_cidrs          = var.api_cidrs
  admin_role_arns    = var.admin_role_arns
  key_arn            = module.encryption.key_arn
}

# Controllers by day, and the head of a run by night. Never spot: a lost head is a lost night.
module "head_nodes" {
  source = "../../modules/node_pool"

  cluster_name   = module.eks.name
  name           = "head"
  pool           = "head"
  node_role_arn  = module.eks.node_role_arn
  subnet_ids     = module.network.private_subnet_ids
  instance_types = var.head_instance_types
  capacity_type  = "ON_DEMAND"
  min_nodes      = 1
  max_nodes      = 3
  disk_gib       = 50
  tags           = local.tags
}

# Readers and the merge.
module "cpu_nodes" {
  source = "../../modules/node_pool"

  cluster_name   = module.eks.name
  name           = "cpu"
  pool           = "cpu"
  node_role_arn  = module.eks.node_role_arn
  subnet_ids     = module.network.private_subnet_ids
  instance_types = var.cpu_instance_types
  capacity_type  = "SPOT"
  max_nodes      = var.max_cpu_nodes
  disk_gib       = 100
  tags           = local.tags
}

module "gpu_nodes" {
  source = "../../modules/gpu_nodes"

  cluster_name        = module.eks.name
  node_role_arn       = module.eks.node_role_arn
  subnet_ids          = module.network.private_subnet_ids
  instance_types      = var.gpu_instance_types
  max_spot_nodes      = var.max_gpu_spot_nodes
  max_on_demand_nodes = var.max_gpu_on_demand_nodes
  tags                = local.tags
}

module "identity" {
  source = "../../modules/identity"

  cluster_name             = module.eks.name
  cluster_arn              = module.eks.arn
  account_id               = var.account_id
  region                   = var.region
  bucket                   = module.storage.bucket
  key_arn                  = module.encryption.key_arn
  inputs                   = var.inputs
  scheduler_principal_arns = var.scheduler_principal_arns
}

module "observability" {
  source = "../../modules/observability"

  name               = var.name
  account_id         = var.account_id
  key_arn            = module.encryption.key_arn
  emails             = var.alarm_emails
  monthly_budget_usd = var.monthly_budget_usd
  gpu_groups         = module.gpu_nodes.autoscaling_groups
  gpu_hours          = var.gpu_hours
  nat_gateway_ids    = module.network.nat_gateway_ids
}
