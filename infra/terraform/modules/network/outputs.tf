output "vpc_id" {
  description = "The network."
  value       = aws_vpc.this.id
}

output "private_subnet_ids" {
  description = "Subnets of cluster and nodes, one per zone. They are ready when their routes are."
  value       = [for zone in var.zones : aws_subnet.private[zone].id]
  depends_on  = [aws_route.nat, aws_route_table_association.private, aws_vpc_endpoint.s3]
}

output "nat_gateway_ids" {
  description = "NAT gateways, by zone."
  value       = { for zone, gateway in aws_nat_gateway.this : zone => gateway.id }
}
